# Images of Debian's packages without a registry: what the scripts that build them share; sourced after lib.sh, never run.
#
# They set: suite, apt_root (kept between runs), debs (where its packages go), work, tree (the packages unpacked), root
# (the image).
# shellcheck shell=sh disable=SC2154

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

can_build_from_debian() {
    for tool in apt-get apt-cache dpkg-deb tar; do
        have "$tool" || die "cannot pull $1, and cannot build it without $tool (needs Debian or a derivative)"
    done
    [ -r "$keyring" ] || die "cannot pull $1, and cannot build it without $keyring (package debian-archive-keyring)"
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

# Brings packages of $suite into $debs: what installing "$1" would, as far as the names match $2 and not $3. Of all that
# a server would pull in only what it links to is wanted, not what only installs it. The first of "$1" must be there.
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

    # shellcheck disable=SC2086 # several packages
    private_apt apt-get -t "$suite" -s install --no-install-recommends $1 \
        2>"$apt_root/resolve.log" | awk -v wanted="$2" -v unwanted="$3" \
        '$1 == "Inst" && $2 ~ wanted && $2 !~ unwanted { sub(/^\(/, "", $3); print $2 "=" $3 }' >"$apt_root/packages"
    grep -q "^${1%% *}=" "$apt_root/packages" || die "Debian $suite has no ${1%% *}: $(tail -n 1 "$apt_root/resolve.log")"
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

# Unpacks $debs into $tree, and finds the dynamic loader and the libraries there.
unpack() {
    merged_root "$tree"
    for deb in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$tree"
    done
    loader=$(find "$tree"/usr/lib/*/ -maxdepth 1 -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || die "the packages hold no dynamic loader"
    libraries=$(dirname "$loader")
    multiarch=$(basename "$libraries")
}

# The skeleton of an image in $root: the loader, and busybox for what a shell needs.
begin_root() {
    merged_root "$root"
    mkdir -p "$root/usr/lib/$multiarch" "$root/usr/local/bin" "$root/root"
    cp -L "$loader" "$root/usr/lib/$multiarch/"
    # The path that the binaries name as their loader depends on the architecture: take it over from the package.
    find "$tree/usr/lib" "$tree/usr/lib64" -maxdepth 1 -name 'ld-linux*' | while read -r link; do
        ln -s "/usr/lib/$multiarch/$(basename "$loader")" "$root${link#"$tree"}"
    done
}

# Last, so that no applet takes the place of a real program.
add_busybox() {
    cp "$tree/usr/bin/busybox" "$root/usr/bin/busybox"
    for applet in $("$tree/usr/bin/busybox" --list); do
        [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
    done
}

# Copies a binary, given by its path in the tree, to the same place in the image, with the libraries it loads. "$2": one
# more directory of libraries, which the binary itself knows how to find.
add_binary() {
    mkdir -p "$root$(dirname "$1")"
    cp -P "$tree$1" "$root$1"
    [ -L "$tree$1" ] && return
    "$loader" --library-path "$libraries${2:+:$tree$2}" --list "$tree$1" >"$work/needs"
    ! grep 'not found' "$work/needs" >&2 || die "the packages lack a library of $(basename "$1")"
    awk -v tree="$tree/" 'index($3, tree) == 1 { print $3 }' "$work/needs" | while read -r library; do
        case $(dirname "${library#"$tree"}") in
        "${2:-none}") ;;
        *) cp -L "$library" "$root/usr/lib/$multiarch/$(basename "$library")" ;;
        esac
    done
}

# The copyright files of these packages; without that of the first there is no image.
add_copyrights() {
    for package in "$@"; do
        [ -d "$tree/usr/share/doc/$package" ] || continue
        mkdir -p "$root/usr/share/doc/$package"
        cp -L "$tree/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/" 2>/dev/null || true
    done
    [ -s "$root/usr/share/doc/$1/copyright" ] || die "$1 comes without its copyright file"
}
