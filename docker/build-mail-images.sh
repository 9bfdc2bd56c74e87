#!/bin/sh
# Makes the images of docker/smtp when there are none: valkit/postfix, of Debian's packages, and haproxy, which is pulled,
# or, where no registry answers, made the same way with the official image's conventions and name.
#
# Usage: build-mail-images.sh [postfix|haproxy]...   (both)
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

suite=bookworm

# Downloads and unpacks the package and what it links to, and begins the image.
begin() {
    apt_root=$(cache_dir)/apt/$suite
    debs=$apt_root/$1.d
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tree=$work/tree
    root=$work/root
    mkdir -p "$apt_root" "$tree" "$root"
    download "$1 busybox-static netbase" "^(lib[^ ]*|zlib1g|$1|busybox-static|netbase)\$" '(-perl|^libperl.*)$'
    version=$(sed -n "s/^$1=\([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p" "$apt_root/packages")
    series=$(echo "$version" | cut -d . -f 1,2)
    step "assembling the image of $1 $version"
    unpack
    begin_root
    : >"$work/owners"
    # Programs look up names of ports and protocols.
    cp "$tree/etc/services" "$tree/etc/protocols" "$root/etc/"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
}

# finish REPOSITORY CHANGE...: puts it together and imports it, tagged with version and series.
finish() {
    repository=$1
    shift
    add_busybox
    chmod -R go-w "$root/etc" "$root/usr"
    step "importing $repository:$version"
    # Everything is root's, but for what $work/owners names.
    cut -d ' ' -f 3 "$work/owners" >"$work/excluded"
    tar -c --numeric-owner --owner=0 --group=0 --exclude-from="$work/excluded" -f "$work/image.tar" -C "$root" .
    while read -r owner group path; do
        tar -r --numeric-owner --owner="$owner" --group="$group" -f "$work/image.tar" -C "$root" "$path"
    done <"$work/owners"
    set -- "$@" "LABEL valkit.debian-suite=$suite" 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    for change in "$@"; do
        set -- "$@" --change "$change"
        shift
    done
    docker import "$@" --message "$repository $version of Debian $suite" "$work/image.tar" "$repository:$version" >/dev/null
    docker tag "$repository:$version" "$repository:$series"
    rm -rf "$work"
}

build_postfix() {
    can_build_from_debian valkit/postfix
    begin postfix
    for binary in "$tree"/usr/sbin/* "$tree"/usr/lib/postfix/sbin/* "$tree"/usr/lib/postfix/*.so*; do
        path=${binary#"$tree"}
        case $(head -c 4 "$binary" | tr -d '\177') in
        ELF) add_binary "$path" /usr/lib/postfix ;;
        *) mkdir -p "$root$(dirname "$path")" && cp -P "$binary" "$root$path" ;;
        esac
    done
    cp -R "$tree/etc/postfix" "$root/etc/"
    mkdir -p "$root/usr/share" "$root/var/spool/postfix" "$root/var/lib/postfix" "$root/var/mail"
    cp -R "$tree/usr/share/postfix" "$root/usr/share/"
    cp "$root/usr/share/postfix/master.cf.dist" "$root/etc/postfix/master.cf"
    # What its package would ask at installation: nothing is known yet, and mail for nobody is taken.
    printf '%s\n' 'compatibility_level = 3.6' 'mydestination =' 'local_recipient_maps =' 'maillog_file = /dev/stdout' \
        >"$root/etc/postfix/main.cf"
    # vmail owns the mailboxes of a node that delivers by virtual(8).
    {
        echo 'root:x:0:0:root:/root:/bin/sh'
        echo 'nobody:x:65534:65534:nobody:/:/sbin/nologin'
        echo 'postfix:x:101:101::/var/spool/postfix:/sbin/nologin'
        echo "vmail:x:5000:5000::/var/mail:/sbin/nologin"
    } >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\npostfix:x:101:\npostdrop:x:102:\nvmail:x:5000:\n' >"$root/etc/group"
    # Anybody may hand in mail, through these alone.
    chmod 2755 "$root/usr/sbin/postdrop" "$root/usr/sbin/postqueue"
    printf '%s\n' '0 102 ./usr/sbin/postdrop' '0 102 ./usr/sbin/postqueue' '101 101 ./var/lib/postfix' \
        '5000 5000 ./var/mail' >"$work/owners"
    add_copyrights postfix busybox-static libc6 netbase
    finish valkit/postfix \
        'CMD ["postfix","start-fg"]' \
        'EXPOSE 25'
    docker run --rm "valkit/postfix:$version" postconf mail_version >&2 || die "the new image does not run"
    step "valkit/postfix:$series is ready (Debian's build of Postfix $version)"
    echo "valkit/postfix:$series"
}

build_haproxy() {
    if [ "${VALKIT_PULL_TIMEOUT:-60}" != 0 ]; then
        step "pulling haproxy:2.6 (at most ${VALKIT_PULL_TIMEOUT:-60} s)"
        if timeout "${VALKIT_PULL_TIMEOUT:-60}" docker pull -q haproxy:2.6 >/dev/null 2>&1; then
            echo haproxy:2.6
            return
        fi
        step "no registry answered: building haproxy:2.6 from Debian's packages"
    fi
    can_build_from_debian haproxy:2.6
    begin haproxy
    add_binary /usr/sbin/haproxy
    mkdir -p "$root/usr/local/etc/haproxy" "$root/var/lib/haproxy"
    printf 'root:x:0:0:root:/root:/bin/sh\nhaproxy:x:99:99::/var/lib/haproxy:/sbin/nologin\n' >"$root/etc/passwd"
    printf 'root:x:0:\nhaproxy:x:99:\n' >"$root/etc/group"
    add_copyrights haproxy busybox-static libc6 netbase
    finish haproxy \
        'USER haproxy' \
        'WORKDIR /var/lib/haproxy' \
        'CMD ["haproxy","-W","-db","-f","/usr/local/etc/haproxy/haproxy.cfg"]'
    docker run --rm "haproxy:$version" haproxy -v >&2 || die "the new image does not run"
    image_exists haproxy:2.6 || die "Debian $suite holds HAProxy $version by now, not 2.6"
    step "haproxy:2.6 is ready (Debian's build of HAProxy $version)"
    echo haproxy:2.6
}

provide() {
    case $1 in
    postfix) image=$(docker images --filter label=valkit.debian-suite=$suite --format '{{.Repository}}:{{.Tag}}' valkit/postfix | sort | head -n 1) ;;
    haproxy) image=haproxy:2.6 ;;
    *) die "unknown image $1; see the head of $0" ;;
    esac
    if [ -n "$image" ] && image_exists "$image"; then
        step "$image is there already"
        echo "$image"
        return
    fi
    "build_$1"
}

docker_works || die "Docker does not answer: start it"
[ $# -gt 0 ] || set -- postfix haproxy
for name in "$@"; do
    provide "$name"
done
