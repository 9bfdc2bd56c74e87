#!/bin/sh
# Entry point of the images made of Debian's packages. Same conventions as the official ones. What says valkey here says
# redis in that of Redis.
set -e

# Only options, or a configuration file: they are meant for the server.
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
    set -- valkey-server "$@"
fi

# Started as root: give up root, after making /data writable for the server.
# The full path of setpriv matters: the shell would prefer its own applet, which lacks --reuid.
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user valkey -exec chown valkey:valkey {} +
    exec /usr/bin/setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
fi

if [ "$(umask)" = 0022 ]; then
    umask 0077
fi

# Debian builds the server with protected mode on, the official image has it compiled off: other containers
# could not connect otherwise. An explicit choice, here or in the configuration file, wins.
if [ "$1" = valkey-server ]; then
    case " $* $VALKEY_EXTRA_FLAGS " in
    *" --protected-mode "*) ;;
    *)
        if ! { [ -f "$2" ] && grep -Eq '^[[:space:]]*protected-mode[[:space:]]' "$2"; }; then
            set -- "$@" --protected-mode no
        fi
        ;;
    esac
fi

# Unquoted on purpose: the variable holds several flags.
# shellcheck disable=SC2086
exec "$@" $VALKEY_EXTRA_FLAGS
