//! Does the model bite? Scripts with one thing wrong each have to be found out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::strategy::{Strategy, ValueTree};

use crate::lua::Scripts;
use crate::play::play;
use crate::scenes::sequences;
use crate::server::Server;
use crate::{SEED, runner, runtime, seed, workers};

/// What is wrong, in which script, what stands there, what stands there instead.
type Mutant = (&'static str, &'static str, &'static str, &'static str);

const MUTANTS: &[Mutant] = &[
    ("no fence before the first field moves", "reap", "call('ZADD', CONSUMERS, 0, cid)", ""),
    ("a fenced consumer may take", "take", "or tonumber(deadline) == 0", ""),
    ("a take may come twice", "take", "take <= tonumber(last)", "take < tonumber(last)"),
    (
        "settled without being held",
        "take",
        "  if not value then return nil end\n",
        "  value = value or '0|0|0|n|x'\n",
    ),
    ("a retried message stays in flight", "take", "  call('HDEL', INFLIGHT, field)\n  others", "  others"),
    ("a retry to the head of the line", "take", "call('LPUSH', REDO, frame)", "call('RPUSH', REDO, frame)"),
    ("every retry counts", "take", "if ARGV[i + 2] == '1' then attempts", "if true then attempts"),
    ("a retry forgets its crashes", "take", "local frame = crashes .. '|'", "local frame = '0|'"),
    ("a renewal one ms short", "take", "now + lease, cid", "now + lease - 1, cid"),
    ("what is due takes along what is not", "take", "'-inf', now, 'LIMIT'", "'-inf', '+inf', 'LIMIT'"),
    ("promoted and still delayed", "take", "    call('ZREM', DELAYED, member)\n", ""),
    ("one more than the bound in flight", "take", "- held(), 0)", "- held() + 1, 0)"),
    ("the bound forgets what others hold", "take", "(setting(fields[i + 1]) or 0)", "0"),
    ("suspects in a crowd", "take", "if suspicion >= 2 then", "if suspicion >= 3 then"),
    ("suspects together with what is held", "take", "if held() > 0 then", "if false then"),
    ("woken is not drained", "take", "math.min(left, ready.woken))", "0)"),
    ("the low lane starves", "take", "if take % 16 == 0 then order", "if take % 17 == 0 then order"),
    ("a lane is popped from its young end", "take", "call('RPOP', key, count)", "call('LPOP', key, count)"),
    ("paused hands out", "take", "room, hold = 0, 'paused'", "hold = 'paused'"),
    ("the rate is not paid for", "take", "tat + claimed * emission", "tat"),
    (
        "an expiry stays on the public list",
        "take",
        "if ready.public > 0 then call('PERSIST', PUBLIC) end",
        "",
    ),
    ("a name may come back", "join", "if call('ZSCORE', CONSUMERS, cid) or", "if"),
    (
        "a restart of the server kills all",
        "join",
        "if tonumber(all[i + 1]) > 0 then call('ZADD'",
        "if false then call('ZADD'",
    ),
    ("a restart raises the fenced", "join", "if tonumber(all[i + 1]) > 0 then", "if true then"),
    ("whoever comes joins a newer format", "join", "return { 'newer', now, format }", "do end"),
    ("the present format is refused", "join", "tonumber(format) <= knows", "tonumber(format) < knows"),
    (
        "what is no number is no format",
        "join",
        "not (tonumber(format) and tonumber(format) <= knows)",
        "(tonumber(format) or 0) > knows",
    ),
    ("who does not say knows all formats", "join", "ARGV[3] or '1'", "ARGV[3] or '9'"),
    (
        "refused and yet something is changed",
        "join",
        "local format = call('HGET', CONTROL, 'version')",
        "local format = call('HGET', CONTROL, 'version') call('HSET', CONTROL, 'lease', ARGV[2])",
    ),
    ("a living consumer is reaped", "reap", "if deadline > now then", "if deadline > now + 20000 then"),
    (
        "bare in any lane",
        "take",
        "kind == 'n' and string.byte(item) == 123",
        "kind ~= 'r' and string.byte(item) == 123",
    ),
    ("bare whatever it begins with", "take", "kind == 'n' and string.byte(item) == 123", "kind == 'n'"),
    (
        "bare, tried or not",
        "take",
        "kind == 'n' and string.byte(item) == 123",
        "(kind == 'n' or kind == 'r')",
    ),
    ("who stood there bare has an age", "reap", "math.floor(take / 16)", "take"),
    ("no crash is counted", "reap", "crashes = tonumber(crashes) + 1", "crashes = tonumber(crashes)"),
    (
        "blamed in a crowd",
        "reap",
        "if alone and crashes >= max_crashes then",
        "if crashes >= max_crashes then",
    ),
    ("one crash more than allowed", "reap", "crashes >= max_crashes", "crashes > max_crashes"),
    (
        "the last of a crowd is a loner",
        "reap",
        "local alone = tonumber(call('HGET', INFLIGHT, '@') or '0') == 1",
        "local alone = held == 1",
    ),
    ("reaped and still held", "reap", "  call('HDEL', INFLIGHT, field)\n", ""),
    ("forgotten with messages in hand", "reap", "if left == 0 then", "if left <= 1 then"),
    ("a share that stays", "reap", "  call('HDEL', CONTROL, 'n:' .. cid)\n", ""),
    (
        "released in the wrong order",
        "release",
        "a[2] > b[2] or (a[2] == b[2] and a[3] > b[3])",
        "a[2] < b[2] or (a[2] == b[2] and a[3] < b[3])",
    ),
    (
        "released and not fenced",
        "release",
        "if call('ZSCORE', CONSUMERS, cid) then call('ZADD', CONSUMERS, 0, cid) end",
        "",
    ),
    (
        "released to the tail",
        "release",
        "call('RPUSH', LANE_KEY[lane], raw)",
        "call('LPUSH', LANE_KEY[lane], raw)",
    ),
    ("over the limit by one", "push", "elseif room < 1 then", "elseif room < 0 then"),
    ("delayed messages do not count", "push", "- (read('ZCARD', delayed) or 0)", ""),
    (
        "only one generation is asked",
        "push",
        "in_current[n] == 1 or in_previous[n] == 1",
        "in_current[n] == 1",
    ),
    ("twice in one batch", "push", "      seen[id] = true\n", ""),
    (
        "what was full is remembered",
        "push",
        "    fates[i] = 'f'\n",
        "    fates[i] = 'f'\n    if id ~= '' then marks[#marks + 1] = id end\n",
    ),
    ("ids are forgotten a window early", "push", "(generation + 2) * window", "(generation + 1) * window"),
    ("an old rate lives on", "control", "redis.call('HDEL', control, 'tat')", "do end"),
    ("replayed and still dead", "replay", "      redis.call('ZREM', dead, id)\n", ""),
    ("a body without its entry", "dead_remove", "  redis.call('HDEL', body, id)\n", ""),
    ("one too many is purged", "purge", "-(count + 1))", "-(count + 2))"),
    ("the youngest are purged", "purge", "key, 0, -(count + 1))", "key, count, -1)"),
    (
        "out of the hand of a living one",
        "hand_back",
        "if deadline and tonumber(deadline) > now then",
        "if false then",
    ),
    ("handed back and still there", "hand_back", "    redis.call('LPOP', source)\n", ""),
    (
        "the low lane jumps the line",
        "hand_back_raw",
        "source, public, 'RIGHT', 'LEFT'",
        "source, public, 'RIGHT', 'RIGHT'",
    ),
];

/// Most show within ten; this many leave nothing to chance.
const PATIENCE: u32 = 4_000;

#[test]
fn a_script_with_one_thing_wrong_is_found_out() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let seed = seed();
    workers(|_| {
        while let Some(mutant) = MUTANTS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (wrong, script, ..) = mutant;
            match found_in(seed, mutant) {
                Some(sequence) => println!("{script}: {wrong}: sequence {sequence}"),
                None => missed.lock().unwrap().push(format!("{script}: {wrong}")),
            }
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not within {PATIENCE} sequences, {SEED}={seed}:\n{}", missed.join("\n"));
}

/// The number of the sequence in which it shows.
fn found_in(seed: u64, (wrong, script, from, to): &Mutant) -> Option<u32> {
    let scripts = Scripts::with(|name, source| {
        if name != *script {
            return source;
        }
        assert_eq!(source.matches(from).count(), 1, "{wrong}: {script}.lua has no single `{from}`");
        source.replace(from, to).leak()
    });
    let runtime = runtime();
    let mut server = runtime.block_on(Server::new(scripts));
    let mut runner = runner(seed, PATIENCE);
    (1..=PATIENCE).find(|_| {
        let ops = sequences().new_tree(&mut runner).unwrap().current();
        runtime.block_on(play(&mut server, &ops)).is_err()
    })
}
