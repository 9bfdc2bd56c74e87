#!/bin/sh
# Installs Postfix and HAProxy from Debian's packages, for `cargo xtask smtp` on machines without Docker.
#
# Usage: install-mail.sh [--yes] [--remove]
#   --yes     not root: use sudo. Without it, only root may go on.
#   --remove  takes both packages off again
#
# Neither is configured or started, now or at boot: whoever uses them starts instances of their own.
# Says on stderr what it does.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=docker/lib.sh
. "$here/lib.sh"

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

have apt-get || die "this machine has no apt; put postfix and haproxy on PATH yourself"
if [ "$remove" = 0 ] && have postfix && have haproxy; then
    step "postfix and haproxy are there already"
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
    step "removing postfix and haproxy"
    apt purge -y postfix haproxy
    exit 0
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

step "reading apt's package lists"
apt update || step "not all of apt's sources answered; going on with those that did"
step "installing postfix and haproxy, without configuring or starting them"
echo 'postfix postfix/main_mailer_type select No configuration' | $sudo debconf-set-selections
apt install -y --no-install-recommends postfix haproxy
if have systemctl; then
    $sudo systemctl disable postfix.service haproxy.service >/dev/null 2>&1 || true
fi
step "done; $0 --remove takes it back"
