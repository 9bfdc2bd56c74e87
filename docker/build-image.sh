#!/bin/sh
# Builds the image of our programs.
#
# Usage: build-image.sh [--docker | --host] [--only PROGRAM] [--profile PROFILE] [--tag NAME]
#   --docker   with docker/Dockerfile, in containers; needs its base images
#   --host     with the Rust toolchain of this machine; the image then holds the programs, the libraries they load and
#              certificate authorities, and nothing else
#   --only     this program alone (valkit, smtp-guard or freeipa-consumer), on this machine; the image then is called like it
#   --profile  of cargo (release)
#   --tag      name of the image (valkit:VERSION, and valkit:latest too)
# Without a choice: in containers if the base images are here or can be pulled, else on this machine.
#
# Prints the image's name on stdout, and what it does on stderr.
#
# VALKIT_PULL_TIMEOUT  seconds for the attempt to pull a base image (60); 0: do not pull
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
workspace=$(dirname "$here")
# shellcheck source=docker/lib.sh
. "$here/lib.sh"

programs='valkit smtp-guard freeipa-consumer'
only=
way=
profile=release
tag=
while [ $# -gt 0 ]; do
    case $1 in
    --docker | --host) way=${1#--} ;;
    --only | --profile | --tag)
        [ $# -ge 2 ] || die "$1 needs a value"
        eval "${1#--}=\$2"
        shift
        ;;
    *) die "unknown argument $1; see the head of $0" ;;
    esac
    shift
done

docker_works || die "Docker does not answer"
version=$(awk -F '"' '/^version = "/ { print $2; exit }' "$workspace/Cargo.toml")
[ -n "$version" ] || die "the workspace does not say its version"
case " $programs " in
*" ${only:-valkit} "*) programs=${only:-$programs} ;;
*) die "there is no program $only; there are: $programs" ;;
esac
[ -z "$only" ] || [ "$way" != docker ] || die "--only goes with --host"
[ -z "$only" ] || way=host
# The first one is what the image runs unless told otherwise.
main=${programs%% *}
image=${tag:-$main:$version}

base_images() { sed -n 's/^FROM \([^ ]*\).*/\1/p' "$here/Dockerfile"; }

can_have_base_images() {
    for base in $(base_images); do
        image_exists "$base" && continue
        [ "${VALKIT_PULL_TIMEOUT:-60}" != 0 ] || return 1
        step "pulling $base (at most ${VALKIT_PULL_TIMEOUT:-60} s)"
        timeout "${VALKIT_PULL_TIMEOUT:-60}" docker pull -q "$base" >/dev/null 2>&1 || return 1
    done
}

build_in_containers() {
    step "building $image in containers"
    # What is committed, nothing else: no build directory, no secrets that lie about.
    git -C "$workspace" archive --format=tar HEAD |
        docker build --file docker/Dockerfile --build-arg "PROFILE=$profile" --tag "$image" - >&2
}

build_here() {
    have cargo || die "building on this machine needs a Rust toolchain"
    target=${CARGO_TARGET_DIR:-$workspace/target}
    # The one profile whose directory is not called like it.
    directory=$target/$([ "$profile" = dev ] && echo debug || echo "$profile")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    root=$work/root
    merged_root "$root"
    mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs"
    for program in $programs; do
        step "building $program on this machine (profile $profile)"
        (cd "$workspace" && cargo build --profile "$profile" --locked --package "$program" --bin "$program" >&2)
        install -m 0755 "$directory/$program" "$root/usr/local/bin/"
        ldd "$directory/$program" >"$work/needs"
        ! grep 'not found' "$work/needs" >&2 || die "a library of $program is missing"
        # "name => path (address)", or only a path for the loader, which the program names by that path.
        awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' "$work/needs" | while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -L "$library" "$root$library"
        done
    done
    for package in libc6 libgcc-s1; do
        if [ -r "/usr/share/doc/$package/copyright" ]; then
            mkdir -p "$root/usr/share/doc/$package"
            cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
        fi
    done
    if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    else
        step "this machine has no certificate authorities to put in; TLS then needs a CA file of yours"
    fi
    printf 'root:x:0:0:root:/:/sbin/nologin\nvalkit:x:65532:65532:valkit:/:/sbin/nologin\n' >"$root/etc/passwd"
    printf 'root:x:0:\nvalkit:x:65532:\n' >"$root/etc/group"
    step "importing $image"
    tar -c --numeric-owner --owner=0 --group=0 -C "$root" . |
        docker import \
            --change 'ENV PATH=/usr/local/bin' \
            --change 'USER 65532:65532' \
            --change "ENTRYPOINT [\"$main\"]" \
            --change 'CMD ["--help"]' \
            --change "LABEL org.opencontainers.image.title=$main" \
            --change "LABEL org.opencontainers.image.version=$version" \
            --change "LABEL org.opencontainers.image.licenses=\"MIT OR Apache-2.0\"" \
            - "$image" >/dev/null
    rm -rf "$work"
}

if [ -z "$way" ]; then
    if can_have_base_images; then way=docker; else way=host; fi
fi
case $way in
docker) build_in_containers ;;
host) build_here ;;
esac
for program in $programs; do
    docker run --rm --entrypoint "$program" "$image" --version >&2 || die "$program does not run in $image"
done
[ -n "$tag" ] || docker tag "$image" "$main:latest"
step "$image is ready"
echo "$image"
