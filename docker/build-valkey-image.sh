#!/bin/sh
# Gets a Valkey image when there is none: pulls the official one, or, where no registry answers, makes one of
# Debian's packages, with the official image's conventions and name. The same for Redis 7.0, to test against it.
#
# Usage: build-valkey-image.sh [SERIES]...
#   SERIES  8.0 (default), 8.1, 9.1, or the Debian suite to take Valkey from (bookworm-backports, trixie, sid).
#           What trixie and sid hold moves: the tags are made of the version really found.
#           redis:7.0 is Redis (bookworm).
#
# Prints the name of each image on stdout, and what it does on stderr. Does nothing for an image that is there.
#
# VALKIT_PULL_TIMEOUT  seconds for the attempt to pull (60); 0: do not pull
# VALKIT_CACHE_DIR     where downloaded packages are kept (${XDG_CACHE_HOME:-~/.cache}/valkit)
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=docker/lib.sh
. "$here/lib.sh"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
unwanted='(-perl|^libperl.*|^libgdbm.*|^libdb5.*)$'

# What to get: valkey or redis.
choose() {
    product=$1
    server=$product-server
    case $product in
    valkey) repository=valkey/valkey title=Valkey variable=VALKEY ;;
    redis) repository=redis title=Redis variable=REDIS ;;
    esac
    packages="$server $product-sentinel $product-tools util-linux busybox-static"
    wanted="^(lib[^ ]*|zlib1g|$server|$product-sentinel|$product-tools|util-linux|busybox-static)\$"
    binaries="$server $product-sentinel $product-cli $product-benchmark $product-check-aof $product-check-rdb setpriv"
}

suite_of() {
    case $1 in
    8.0) echo bookworm-backports ;;
    8.1) echo trixie ;;
    9.1) echo sid ;;
    redis:7.0) echo bookworm ;;
    redis:*) die "no Debian suite is known to hold Redis ${1#redis:}; known: 7.0" ;;
    [0-9]*) die "no Debian suite is known to hold Valkey $1; known: 8.0, 8.1, 9.1, or name a suite" ;;
    *) echo "$1" ;;
    esac
}

# apt with a root of its own: neither the machine's sources nor its installed packages take part.
private_apt() {
    command=$1
    shift
    "$command" -q -o APT::Sandbox::User=root -o Dir::State="$apt_root/state" -o Dir::State::status="$apt_root/status" \
        -o Dir::Cache="$apt_root/cache" -o Dir::Etc::sourcelist="$apt_root/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Acquire::Languages=none \
        -o Acquire::Retries=2 "$@"
}

write_sources() {
    {
        echo "deb [signed-by=$keyring] $1 $suite main"
        case $suite in
        *-backports) echo "deb [signed-by=$keyring] $1 ${suite%-backports} main" ;;
        esac
    } >"$apt_root/sources.list"
}

# Brings the packages of $suite into $debs.
download() {
    mkdir -p "$apt_root/state/lists/partial" "$apt_root/cache/archives/partial" "$debs"
    : >"$apt_root/status"
    for mirror in $(debian_mirrors); do
        step "reading the package lists of Debian $suite"
        write_sources "$mirror"
        # Without Error-Mode=any a mirror that lacks the suite would only warn.
        if private_apt apt-get update -o APT::Update::Error-Mode=any >"$apt_root/update.log" 2>&1; then
            break
        fi
        mirror=
    done
    [ -n "$mirror" ] || die "no configured mirror serves Debian $suite: $(tail -n 1 "$apt_root/update.log")"

    # Of everything the server would pull in only what it links to is wanted, not what only installs it.
    # shellcheck disable=SC2086 # several packages
    private_apt apt-get -t "$suite" -s install --no-install-recommends $packages \
        2>"$apt_root/resolve.log" | awk -v wanted="$wanted" -v unwanted="$unwanted" \
        '$1 == "Inst" && $2 ~ wanted && $2 !~ unwanted { sub(/^\(/, "", $3); print $2 "=" $3 }' >"$apt_root/packages"
    grep -q "^$server=" "$apt_root/packages" || die "Debian $suite has no $server: $(tail -n 1 "$apt_root/resolve.log")"
    step "downloading $(wc -l <"$apt_root/packages") packages into $debs"
    rm -rf "$debs.new" && mkdir -p "$debs.new"
    # Kept from an earlier run: apt leaves a complete file alone.
    find "$debs" -name '*.deb' -exec mv {} "$debs.new/" \;
    # shellcheck disable=SC2046
    (cd "$debs.new" && private_apt apt-get download $(cat "$apt_root/packages")) >"$apt_root/download.log" 2>&1 ||
        die "downloading failed: $(tail -n 1 "$apt_root/download.log")"
    # Drops files of an earlier version.
    while IFS='=' read -r name version; do
        file=$(printf '%s_%s_' "$name" "$version" | sed 's/:/%3a/g')
        find "$debs.new" -name "$file*.deb" -exec mv {} "$debs/" \;
    done <"$apt_root/packages"
    rm -rf "$debs.new"
}

# Unpacks $debs into $tree and copies the binaries, with the libraries they load, into $root.
assemble() {
    merged_root "$tree"
    merged_root "$root"
    for deb in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$tree"
    done
    loader=$(find "$tree"/usr/lib/*/ -maxdepth 1 -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || die "the packages hold no dynamic loader"
    libraries=$(dirname "$loader")
    multiarch=$(basename "$libraries")
    mkdir -p "$root/usr/lib/$multiarch" "$root/usr/local/bin" "$root/data"
    for name in $binaries; do
        cp -P "$tree/usr/bin/$name" "$root/usr/bin/"
        [ -L "$tree/usr/bin/$name" ] && continue
        "$loader" --library-path "$libraries" --list "$tree/usr/bin/$name" >"$work/needs"
        ! grep 'not found' "$work/needs" >&2 || die "the packages lack a library of $name"
        awk -v tree="$tree/" 'index($3, tree) == 1 { print $3 }' "$work/needs" | while read -r library; do
            cp -L "$library" "$root/usr/lib/$multiarch/$(basename "$library")"
        done
    done
    cp -L "$loader" "$root/usr/lib/$multiarch/"
    # The path that the binaries name as their loader depends on the architecture: take it over from the package.
    find "$tree/usr/lib" "$tree/usr/lib64" -maxdepth 1 -name 'ld-linux*' | while read -r link; do
        ln -s "/usr/lib/$multiarch/$(basename "$loader")" "$root${link#"$tree"}"
    done
    cp "$tree/usr/bin/busybox" "$root/usr/bin/busybox"
    for applet in $("$tree/usr/bin/busybox" --list); do
        [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
    done
    for package in "$server" "$product-tools" busybox-static util-linux libc6; do
        [ -d "$tree/usr/share/doc/$package" ] || continue
        mkdir -p "$root/usr/share/doc/$package"
        cp -L "$tree/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/" 2>/dev/null || true
    done
    [ -s "$root/usr/share/doc/$server/copyright" ] || die "$server comes without its copyright file"
    printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:999:999:%s:/data:/bin/sh\n' "$product" "$product" >"$root/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\n' "$product" >"$root/etc/group"
    mkdir -p "$root/root"
    # The same for both, up to the names.
    sed "/^#/!{s/valkey/$product/g; s/VALKEY/$variable/g;}" "$here/valkey-entrypoint.sh" >"$root/usr/local/bin/docker-entrypoint.sh"
    chmod 0755 "$root/usr/local/bin/docker-entrypoint.sh"
    version=$("$loader" --library-path "$libraries" "$tree/usr/bin/$server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')
    [ -n "$version" ] || die "the server does not say its version"
}

import() {
    {
        tar -c --numeric-owner --owner=0 --group=0 --exclude=./data -C "$root" .
    } >"$work/image.tar"
    # On its own: also under `docker run --user 999` the server can write there.
    tar -r --numeric-owner --owner=999 --group=999 -f "$work/image.tar" -C "$root" ./data
    step "importing $repository:$version"
    docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change "ENV ${variable}_VERSION=$version" \
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
        --change "CMD [\"$server\"]" \
        --change 'EXPOSE 6379' \
        --change 'VOLUME /data' \
        --change 'WORKDIR /data' \
        --change "LABEL valkit.debian-suite=$suite" \
        --message "$server $version of Debian $suite" \
        "$work/image.tar" "$repository:$version" >/dev/null
    docker tag "$repository:$version" "$repository:${version%.*}"
}

provide() {
    suite=$(suite_of "$1")
    case $1 in
    redis:*) choose redis ;;
    *) choose valkey ;;
    esac
    # A suite's name is no tag; what was built from it says so in a label.
    case $1 in
    redis:*) image=$1 ;;
    [0-9]*) image=$repository:$1 ;;
    *) image=$(docker images --filter "label=valkit.debian-suite=$suite" --format '{{.Repository}}:{{.Tag}}' | sort | head -n 1) ;;
    esac
    if [ -n "$image" ] && image_exists "$image"; then
        step "$image is there already"
        echo "$image"
        return
    fi
    timeout_s=${VALKIT_PULL_TIMEOUT:-60}
    if [ -n "$image" ] && [ "$timeout_s" != 0 ]; then
        step "pulling $image (at most $timeout_s s)"
        if timeout "$timeout_s" docker pull -q "$image" >/dev/null 2>&1; then
            echo "$image"
            return
        fi
        step "no registry answered: building $image from Debian's packages"
    fi
    for tool in apt-get apt-cache dpkg-deb tar; do
        have "$tool" || die "cannot pull $image, and cannot build it without $tool (needs Debian or a derivative)"
    done
    [ -r "$keyring" ] || die "cannot pull $image, and cannot build it without $keyring (package debian-archive-keyring)"
    apt_root=$(cache_dir)/apt/$suite
    debs=$apt_root/packages.d
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/tree
    root=$work/root
    mkdir -p "$apt_root" "$tree" "$root"
    download
    step "assembling the image"
    assemble
    import
    case $1 in
    redis:* | [0-9]*)
        image_exists "$image" || die "Debian $suite holds $title $version by now, not ${1#redis:} (built as $repository:$version)"
        ;;
    *) image=$repository:$version ;;
    esac
    docker run --rm "$image" "$server" --version >/dev/null || die "the new image does not run"
    rm -rf "$work"
    step "$image is ready (Debian's build of $title $version)"
    echo "$image"
}

docker_works || die "Docker does not answer: start it, or install Valkey itself with $here/install-valkey.sh"
[ $# -gt 0 ] || set -- 8.0
for series in "$@"; do
    provide "$series"
done
