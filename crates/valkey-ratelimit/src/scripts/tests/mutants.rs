//! Mistakes that the random traces have to find.

/// What is wrong, what stands there, what stands there instead.
pub(super) type Mutant = (&'static str, &'static str, &'static str);

pub(super) const OF_CHECK: &[Mutant] = &[
    (
        "one more than the limit",
        "return state.quota.a - state.total\n",
        "return state.quota.a - state.total + 1\n",
    ),
    (
        "a sub-window too few",
        "local PARTS, MAX_ITEMS, QUOTA, ITEM, CHUNK = 60",
        "local PARTS, MAX_ITEMS, QUOTA, ITEM, CHUNK = 59",
    ),
    (
        "what left the ring goes on counting",
        "total = total - unpack_bytes(COUNT[bytes], entries, first + 1)",
        "total = total",
    ),
    ("a long pause forgets nothing", "first, total = #entries + 1, 0", "first = #entries + 1"),
    (
        "the clock steps back and makes older",
        "char((byte(entries, at) - shift) % 256)",
        "char(byte(entries, at))",
    ),
    (
        "a charge in the same sub-window replaces the one before",
        "amount = amount + unpack_bytes(count, entries, last + 1)",
        "",
    ),
    ("a charge is not in the total", "state.total = state.total + amount\n", ""),
    (
        "another window forgets",
        "entries, total, newest = reshaped(quota, old_bytes, old_width, newest, entries)",
        "entries, total = '', 0",
    ),
    (
        "moved to the beginning of where it was",
        "floor(((number + 1) * width - 1) / quota.b)",
        "floor(number * width / quota.b)",
    ),
    (
        "moved into the future",
        "min(floor(((number + 1) * width - 1) / quota.b), current)",
        "floor(((number + 1) * width - 1) / quota.b)",
    ),
    (
        "two sub-windows become one, the last",
        "counts[#counts] = min(counts[#counts] + count, most)",
        "counts[#counts] = count",
    ),
    (
        "waiting for one too few",
        "    missing = missing - unpack_bytes(count, entries, at + 1)\n    if missing <= 0",
        "    missing = missing - unpack_bytes(count, entries, at + 1)\n    if missing <= 1",
    ),
    ("more given back than charged", "local back = min(charged, amount)", "local back = amount"),
    ("given back and still in the total", "      state.total = state.total - back\n", ""),
    ("a bucket that never leaks", "level = max(0, level - max(0, floor(now / us) - at) * drain)", ""),
    (
        "a clock that steps back fills the bucket",
        "max(0, floor(now / us) - at) * drain",
        "(floor(now / us) - at) * drain",
    ),
    ("another quota empties the bucket", "level = ceil(level / unit * quota.b)", "level = 0"),
    ("a bucket above its brim", "state.level = min(level, capacity)", "state.level = level"),
    (
        "room is rounded up",
        "return floor((state.capacity - state.level) / state.quota.b)",
        "return ceil((state.capacity - state.level) / state.quota.b)",
    ),
    ("waiting is rounded down", "ceil(drops / state.quota.c)", "floor(drops / state.quota.c)"),
    (
        "drained and given back",
        "local left = amount * unit - max(0, state.at - mark) * state.quota.c",
        "local left = amount * unit",
    ),
    (
        "the window before counts whole",
        "state.previous * (window - state.elapsed)",
        "state.previous * window",
    ),
    ("the window before is forgotten", "    state.previous = current\n", ""),
    ("two windows later it still counts", "elseif number == was + 1 then", "else"),
    (
        "given back to the wrong window",
        "mark == state.number - 1 and 'previous'",
        "mark == state.number - 1 and 'current'",
    ),
    (
        "a new window does not begin anew",
        "if window ~= quota.b or state.number <= number then",
        "if true then",
    ),
    (
        "a fixed window gives back what is over",
        "mark == state.number and min(state.count, amount) or 0",
        "min(state.count, amount)",
    ),
    (
        "the log counts what has left",
        "local count = redis.pcall('ZCOUNT', key, '(' .. gone, '+inf')",
        "local count = redis.pcall('ZCOUNT', key, '-inf', '+inf')",
    ),
    (
        "the log counts one less than a window",
        "'ZCOUNT', key, '(' .. gone, '+inf'",
        "'ZCOUNT', key, gone, '+inf'",
    ),
    (
        "members of two calls are one",
        "members[#members + 1] = nonce .. ':' .. unit",
        "members[#members + 1] = 'x:' .. unit",
    ),
    ("members of one call are one", "nonce .. ':' .. unit", "nonce"),
    (
        "the log gives back what has left",
        "if score and tonumber(score) > tonumber(state.gone) then",
        "if score then",
    ),
    (
        "what comes after a step back is ranked last",
        "at = rank <= past + state.added and now or kept_at(state, rank - state.added)",
        "at = now",
    ),
    (
        "a group is charged in part",
        "local granted = asked[from].times\n",
        "local granted = asked[from].times\n  to = from\n",
    ),
    (
        "after a step back of the clock a refusal is not written",
        "if mine > 0 or state.ahead and item.times > 0 and not item.returned then",
        "if mine > 0 then",
    ),
    ("a shadow is in the way", "if not item.shadow then", "if true then"),
    ("a shadow is charged beyond its room", "mine = min(granted, item.fits)", "mine = granted"),
    (
        "what is refused is charged",
        "if mine > 0 then\n          kind.charge",
        "if true then\n          kind.charge",
    ),
    (
        "another quota in the same call forgets what the first charged",
        "state.dirty and quota.kind.save(state) or raw",
        "raw",
    ),
    ("another quota in the same call writes only what it charged", "before and before.added or 0", "0"),
    (
        "what is gone under another quota of the call still counts",
        "max(now - quota.b, before and before.gone_us or 0)",
        "now - quota.b",
    ),
    (
        "a look under another quota changes the quota",
        "    return quota.kind.open(quota, state.dirty and quota.kind.save(state) or raw, key)",
        "    local again = quota.kind.open(quota, state.dirty and quota.kind.save(state) or raw, key)\n    again.dirty = state.dirty\n    states[key] = again\n    return again",
    ),
    ("a second look at a key does not see the first", "    states[key] = state\n  end\n", "  end\n"),
    (
        "a key that stays for ever",
        "'PX', 3600000 + max(1, ceil(kind.reset_after(state) / 1000))",
        "'KEEPTTL'",
    ),
];

pub(super) const OF_GRANT: &[Mutant] = &[
    ("a bucket that never leaks", "level = level - (tick - was_at) * c", ""),
    ("a clock that steps back fills the bucket", "if tick < was_at then", "if false then"),
    ("a bucket below its bottom", "level = level < 0 and 0 or level > capacity", "level = level > capacity"),
    ("a bucket of another quota", "if #raw ~= 34 or sub(raw, 1, 19) ~= begin then", "if #raw ~= 34 then"),
    (
        "room is rounded up",
        "local room = floor((capacity - level) / b)",
        "local room = ceil((capacity - level) / b)",
    ),
    ("a cost of one", "local mine = floor(room / cost)", "local mine = room"),
    ("more drops than were asked for", "mine = mine < times and mine or times\n      level", "level"),
    ("a charge is not in the level", "level = level + mine * drops", ""),
    ("the cost of the next is not in the wait", "level + drops - capacity, 0, 0", "level - capacity, 0, 0"),
    ("waiting is rounded down", "ceil(above / c)", "floor(above / c)"),
    ("emptying is rounded down", "ceil(level / c)", "floor(level / c)"),
    ("what was granted is still left", "room - mine * cost", "room"),
    (
        "another width is taken for this one",
        "(length - 18) % size ~= 0 or sub(raw, 1, 8) ~= begin then",
        "(length - 18) % size ~= 0 then",
    ),
    ("a clock that stepped back", "if newest > current then", "if false then"),
    ("a sub-window too few", "PARTS, MAX_ITEMS, TERMS = 60", "PARTS, MAX_ITEMS, TERMS = 59"),
    ("a long pause forgets nothing", "first, total = length + 1, 0", "first = length + 1"),
    ("after a long pause the old entries stay", "first, total = length + 1, 0", "total = 0"),
    ("what left the ring goes on counting", "total = total - unpack_bytes(counted, raw, first + 1)\n", ""),
    ("one more than the limit", "floor((a - total) / cost)", "floor((a - total + 1) / cost)"),
    (
        "more than was asked for",
        "mine = mine < times and mine or times\n      local next_after",
        "local next_after",
    ),
    ("a charge is not in the total", "        total = total + amount\n", ""),
    (
        "a charge in the same sub-window replaces the one before",
        "amount = amount + unpack_bytes(counted, raw, length - c + 1)",
        "",
    ),
    ("a sub-window twice", "          last = length - size\n", ""),
    ("what left the ring is kept", "sub(raw, first, last)", "sub(raw, 19, last)"),
    ("a refusal is charged", "mine > 0 and raw", "raw"),
    ("a refused bucket is charged", "mine > 0 and pack('<c0I8I7'", "pack('<c0I8I7'"),
    ("less than nothing is left", "total < a and a - total or 0", "a - total"),
    ("less than nothing is granted", "        mine = 0\n", ""),
    (
        "waiting for one too few",
        "raw, entry + 1)\n          if lacking <= 0",
        "raw, entry + 1)\n          if lacking <= 1",
    ),
    (
        "waiting for the newest",
        "next_after = newest_leaves - (current - byte(raw, entry)) % 256 * b",
        "next_after = newest_leaves",
    ),
    (
        "as new when the newest sub-window is over",
        "reset_after = newest_leaves - (current - byte(raw, length - c)) % 256 * b",
        "reset_after = newest_leaves",
    ),
    (
        "the second of those alike is asked what the first is",
        "local to, times_at = from + count - 1, at + TERMS - from",
        "local to, times_at = from + count - 1, at + TERMS - from - (count > 1 and 1 or 0)",
    ),
    (
        "those of which each is one request are two",
        "local raw, times, level = plain[i], once and 1",
        "local raw, times, level = plain[i], once and 2",
    ),
    (
        "those of which each is one request are two, in a window",
        "local raw, times, total = plain[i], once and 1",
        "local raw, times, total = plain[i], once and 2",
    ),
    (
        "those of which each is one request have numbers all the same",
        "count, numbers = -count, 0",
        "count, numbers = -count, -count",
    ),
    (
        "a life too short",
        "lives[i] = ceil(reset_after / 1000)\n      parts[i + 1] = pack('<i4I4i8i8i8', mine, room",
        "lives[i] = -3599999\n      parts[i + 1] = pack('<i4I4i8i8i8', mine, room",
    ),
];
