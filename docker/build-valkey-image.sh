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
# shellcheck source=docker/debian.sh
. "$here/debian.sh"

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

# Makes the image of the packages in $root.
assemble() {
    unpack
    begin_root
    mkdir -p "$root/data"
    for name in $binaries; do
        add_binary "/usr/bin/$name"
    done
    add_busybox
    add_copyrights "$server" "$product-tools" busybox-static util-linux libc6
    printf 'root:x:0:0:root:/root:/bin/sh\n%s:x:999:999:%s:/data:/bin/sh\n' "$product" "$product" >"$root/etc/passwd"
    printf 'root:x:0:\n%s:x:999:\n' "$product" >"$root/etc/group"
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
    can_build_from_debian "$image"
    apt_root=$(cache_dir)/apt/$suite
    debs=$apt_root/packages.d
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/tree
    root=$work/root
    mkdir -p "$apt_root" "$tree" "$root"
    download "$packages" "$wanted" "$unwanted"
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
