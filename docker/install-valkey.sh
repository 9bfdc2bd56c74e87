#!/bin/sh
# Installs valkey-server and valkey-cli from Debian's packages, for machines without Docker.
#
# Usage: install-valkey.sh [--yes] [--remove]
#   --yes     not root: use sudo. Without it, only root may go on.
#   --remove  takes back what an earlier run installed and changed
#
# Debian 12 has Valkey in bookworm-backports, which is then added to apt's sources; later ones have it in their main
# archive. The server is not started, neither now nor at boot: whoever uses it starts one of their own.
# Prints the path of valkey-server on stdout, and what it does on stderr.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=docker/lib.sh
. "$here/lib.sh"

list=/etc/apt/sources.list.d/valkit-backports.list
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
policy=/usr/sbin/policy-rc.d

yes=0
remove=0
for argument in "$@"; do
    case $argument in
    --yes) yes=1 ;;
    --remove) remove=1 ;;
    *) die "unknown argument $argument; see the head of $0" ;;
    esac
done

have apt-get || die "this machine has no apt; take a Valkey of your own and put valkey-server on PATH"

if [ "$remove" = 0 ] && have valkey-server; then
    step "$(command -v valkey-server) is there already"
    command -v valkey-server
    exit 0
fi

sudo=
if [ "$(id -u)" != 0 ]; then
    [ "$yes" = 1 ] || die "installing packages needs root: run this as root, or with --yes to let it use sudo"
    have sudo || die "not root, and there is no sudo"
    sudo=sudo
fi

apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" >&2; }

if [ "$remove" = 1 ]; then
    step "removing valkey-server and valkey-tools"
    apt purge -y valkey-server valkey-tools
    if [ -e "$list" ]; then
        step "removing $list"
        $sudo rm -f "$list"
        apt update
    fi
    exit 0
fi

candidate() { apt-cache policy valkey-server 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }

step "reading apt's package lists"
apt update || step "not all of apt's sources answered; going on with those that did"
suffix=
if [ -z "$(candidate)" ]; then
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ "$codename" = bookworm ] || die "apt knows no valkey-server, and only for Debian 12 is it known where to find one"
    for mirror in $(debian_mirrors); do
        step "adding Debian's own backports to apt's sources: $list (apt takes nothing from there unless told)"
        echo "deb [signed-by=$keyring] $mirror bookworm-backports main" | $sudo tee "$list" >/dev/null
        apt update || true
        [ -n "$(candidate)" ] && break
        step "$mirror has no backports"
        $sudo rm -f "$list"
    done
    [ -n "$(candidate)" ] || die "no configured mirror serves bookworm-backports"
    suffix=/bookworm-backports
fi

# A package of a server starts it while it is installed, unless this file, which is there for that, says no.
made_policy=0
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    made_policy=1
fi
forget_policy() { [ "$made_policy" = 0 ] || $sudo rm -f "$policy"; }
trap forget_policy EXIT

step "installing valkey-server $(candidate), without starting it"
apt install -y --no-install-recommends "valkey-server$suffix" "valkey-tools$suffix"
if have systemctl; then
    $sudo systemctl disable valkey-server.service >/dev/null 2>&1 || true
fi
have valkey-server || die "the packages are installed, yet valkey-server is not on PATH"
step "done; $0 --remove takes it back"
command -v valkey-server
