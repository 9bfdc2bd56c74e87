# Shared by the scripts beside this file; sourced, never run.
# shellcheck shell=sh

# One line a step, on stderr: stdout carries only the result (an image name), so that scripts can use it.
step() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

docker_works() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

# Where downloads are kept between runs.
cache_dir() { printf '%s\n' "${VALKIT_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/valkit}"; }

# The Debian mirrors that apt on this machine is configured with, each once, best first. `--no-release-info`: also before
# the first `apt-get update`.
debian_mirrors() {
    # shellcheck disable=SC2016 # apt expands these
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk '$3 == "main" && $2 !~ /security/ && $1 ~ /\/debian\/?$/ { sub(/\/$/, "", $1); print $1 }' |
        awk '!seen[$0]++'
}

# Makes the empty skeleton of an image in $1, with /usr merged as in Debian since 12.
merged_root() {
    mkdir -p "$1/usr/bin" "$1/usr/sbin" "$1/usr/lib" "$1/usr/lib64" "$1/etc" "$1/tmp" "$1/run" "$1/proc" "$1/sys" "$1/dev"
    for dir in bin sbin lib lib64; do
        [ -e "$1/$dir" ] || ln -s "usr/$dir" "$1/$dir"
    done
    chmod 1777 "$1/tmp"
}
