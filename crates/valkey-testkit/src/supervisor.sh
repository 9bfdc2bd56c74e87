# Runs one server for a test and does to it what the test says on stdin, one verb a line:
#   start          starts the server that the arguments name
#   signal NAME    sends it a signal
# Every verb is answered with "@testkit done VERB". A run of the server is told as "@testkit started" and "@testkit exit
# CODE"; all else is its log. Such a message may come in the middle of a line of the log: a server writes what its signal
# handlers have to say in pieces.
# When stdin ends, the test is gone, by whatever death: nothing that it started stays.
exec 2>&1
pidfile=$1 farewell=$2
shift 2

server() {
    sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$pidfile" "$@" </dev/null
    code=$?
    rm -f "$pidfile"
    echo "@testkit exit $code"
}

while read -r verb argument; do
    case $verb in
    start)
        echo "@testkit started"
        server "$@" &
        ;;
    signal) kill -s "$argument" "$(cat "$pidfile")" ;;
    esac
    echo "@testkit done $verb"
done

if [ -f "$pidfile" ]; then
    kill -s KILL "$(cat "$pidfile")"
fi
eval "$farewell"
