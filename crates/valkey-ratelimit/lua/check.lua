#!lua
-- transition  requests to limits -> granted and charged, or not, all items of a group or none of it; and charges given back
--
-- KEYS  one per item: where the state of its subject under its limit is kept. A key may stand in several groups.
-- ARGV  1 now in Unix microseconds ('' = the clock of this server; a time is for tests)
--       2 a text that no other call carries: makes the members of sorted sets unique
--       3 the number of quotas, then five per quota, integers but for the letter:
--         R  limit  sub-window in us  bytes of a count (2 or 4)  0    sliding_window
--         L  limit  window in us  0  0                                sliding_log
--         G  burst  unit  drain  us of a tick                         gcra
--         C  limit  window in ticks  us of a tick  0                  sliding_counter
--         F  limit  window in us  0  0                                fixed_window
--       then four per item, at most 64 items:
--         the number of its quota, from 1
--         what one request costs, at least 1
--         how many requests, the same for all items of a group; 0 = only look
--         '' | '+' (of the group of the item before) | 's' (a shadow: never in the way of others) | '+s'
--         or, to give back: the number of the quota; the mark of the charge, for L `<text of that call>:<mark>`; how much; 'b'
-- Returns one string: the time as <i8, then per item <i4 granted, <I4 remaining, <i8 next_after, <i8 reset_after, <i8 mark.
--         granted = how many of the requests, or how much was given back; -1: the key holds something else; nothing of its group was done.
--         next_after = us until one more of this cost is granted if nobody comes, 0 = now, -1 = it costs more than there is.
--         reset_after = us until the state is as new. mark = where the charge stands, for giving it back.
-- Keeps - sliding_window and sliding_log: no stretch of time as long as the window holds more than the limit, by the clock
--         of this server. gcra: none holds more than burst + limit. (src/algorithm has each as a model, with the reasons.)
--       - a group is charged whole or not at all; a shadow is charged as far as it has room.
--       - what is refused writes nothing, unless the clock stepped back: then what is there counts as of now.
--       - only what still counts where it was charged is given back: what has left the window made room already.
--       - every key that is written expires when it says nothing more.
--       - a key of another type, or with other content, is left alone.
--       - all arguments are understood before the first write, and what may hold something else is read before it is written.

local PARTS, MAX_ITEMS, QUOTA, ITEM, CHUNK = 60, 64, 5, 4, 256

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local byte, char, sub, format = string.byte, string.char, string.sub, string.format
local pack, unpack_bytes = struct.pack, struct.unpack

local function malformed(what)
  return redis.error_reply('ERR check: malformed call: ' .. what)
end

local now = tonumber(ARGV[1])
if not now then
  local clock = redis.call('TIME')
  now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end
local nonce = ARGV[2]

-- === sliding_window: header, then per sub-window with a charge its number modulo 256 and the count, oldest first ===

local ring = {}
local COUNT = { [2] = '<I2', [4] = '<I4' }

-- Puts what was counted under other parameters where it would stand under these, at the latest it can have been charged.
local function reshaped(quota, bytes, width, newest, entries)
  local current, size, most = floor(now / quota.b), bytes + 1, quota.c == 2 and 65535 or 4294967295
  local numbers, counts = {}, {}
  for at = 1, #entries, size do
    local number = newest - (newest - byte(entries, at)) % 256
    local moved = min(floor(((number + 1) * width - 1) / quota.b), current)
    local count = unpack_bytes(COUNT[bytes], entries, at + 1)
    if current - moved <= PARTS then
      if numbers[#numbers] == moved then
        counts[#counts] = min(counts[#counts] + count, most)
      else
        numbers[#numbers + 1], counts[#counts + 1] = moved, min(count, most)
      end
    end
  end
  local parts, total = {}, 0
  for i = 1, #numbers do
    parts[i] = char(numbers[i] % 256) .. pack(COUNT[quota.c], counts[i])
    total = total + counts[i]
  end
  return table.concat(parts), total, current
end

function ring.open(quota, raw)
  local width, bytes = quota.b, quota.c
  local state = { quota = quota, newest = floor(now / width), total = 0, entries = '' }
  if not raw then
    return state
  end
  if #raw < 18 or sub(raw, 1, 1) ~= 'R' then
    return nil
  end
  local old_bytes, old_width, newest, total = unpack_bytes('<BI6I6I4', raw, 2)
  local entries = sub(raw, 19)
  if not COUNT[old_bytes] or #entries % (old_bytes + 1) ~= 0 then
    return nil
  end
  if old_bytes ~= bytes or old_width ~= width then
    entries, total, newest = reshaped(quota, old_bytes, old_width, newest, entries)
  end
  local current, size = state.newest, bytes + 1
  if current > newest then
    local first = 1
    if current - newest > PARTS then
      first, total = #entries + 1, 0
    end
    while first <= #entries and (current - byte(entries, first)) % 256 > PARTS do
      total = total - unpack_bytes(COUNT[bytes], entries, first + 1)
      first = first + size
    end
    if first > 1 then
      entries = sub(entries, first)
    end
  elseif current < newest then
    -- The clock stepped back: nothing gets older by that.
    state.ahead = true
    local parts, shift = {}, newest - current
    for at = 1, #entries, size do
      parts[#parts + 1] = char((byte(entries, at) - shift) % 256) .. sub(entries, at + 1, at + bytes)
    end
    entries = table.concat(parts)
  end
  state.total, state.entries = total, entries
  return state
end

function ring.room(state)
  return state.quota.a - state.total
end

function ring.charge(state, amount)
  local entries, count = state.entries, COUNT[state.quota.c]
  local number, last = state.newest % 256, #state.entries - state.quota.c
  state.total = state.total + amount
  if last > 0 and byte(entries, last) == number then
    amount = amount + unpack_bytes(count, entries, last + 1)
    entries = sub(entries, 1, last - 1)
  end
  state.entries = entries .. char(number) .. pack(count, amount)
end

-- When the sub-window of the entry at this place is behind every window that holds the present.
local function leaves(state, at)
  local number = state.newest - (state.newest - byte(state.entries, at)) % 256
  return (number + PARTS + 1) * state.quota.b - now
end

function ring.give_back(state, mark, amount)
  local age = state.newest - mark
  if age < 0 or age > PARTS then
    return 0
  end
  local entries, size, count = state.entries, state.quota.c + 1, COUNT[state.quota.c]
  for at = 1, #entries, size do
    if byte(entries, at) == mark % 256 then
      local charged = unpack_bytes(count, entries, at + 1)
      local back = min(charged, amount)
      local left = charged > back and char(mark % 256) .. pack(count, charged - back) or ''
      state.entries = sub(entries, 1, at - 1) .. left .. sub(entries, at + size)
      state.total = state.total - back
      return back
    end
  end
  return 0
end

function ring.next_after(state, cost)
  local missing = state.total + cost - state.quota.a
  if missing <= 0 then
    return 0
  end
  local entries, size, count = state.entries, state.quota.c + 1, COUNT[state.quota.c]
  for at = 1, #entries, size do
    missing = missing - unpack_bytes(count, entries, at + 1)
    if missing <= 0 then
      return leaves(state, at)
    end
  end
  return 0
end

function ring.reset_after(state)
  local last = #state.entries - state.quota.c
  return last > 0 and leaves(state, last) or 0
end

function ring.mark(state)
  return state.newest
end

function ring.save(state)
  local quota = state.quota
  return 'R' .. pack('<BI6I6I4', quota.c, quota.b, state.newest, state.total) .. state.entries
end

-- === gcra: a bucket of drops; a unit of cost is `unit` drops, and a tick drains `drain` of them ===

local bucket = {}

function bucket.open(quota, raw)
  local capacity, tick = quota.a * quota.b, floor(now / quota.d)
  local state = { quota = quota, capacity = capacity, at = tick, level = 0 }
  if not raw then
    return state
  end
  if #raw ~= 34 or sub(raw, 1, 1) ~= 'G' then
    return nil
  end
  local unit, drain, us, level, at = unpack_bytes('<I6I6I6I8I7', raw, 2)
  -- What drained since was drained by the quota of then.
  level = max(0, level - max(0, floor(now / us) - at) * drain)
  state.ahead = unit == quota.b and drain == quota.c and us == quota.d and tick < at
  if unit ~= quota.b then
    level = ceil(level / unit * quota.b)
  end
  state.level = min(level, capacity)
  return state
end

function bucket.room(state)
  return floor((state.capacity - state.level) / state.quota.b)
end

function bucket.charge(state, amount)
  state.level = state.level + amount * state.quota.b
end

-- What drained since may have been the charge itself.
function bucket.give_back(state, mark, amount)
  local unit = state.quota.b
  local left = amount * unit - max(0, state.at - mark) * state.quota.c
  local back = max(0, floor(min(left, state.level) / unit))
  state.level = state.level - back * unit
  return back
end

local function drained_after(state, drops)
  if drops <= 0 then
    return 0
  end
  return (state.at + ceil(drops / state.quota.c)) * state.quota.d - now
end

function bucket.next_after(state, cost)
  return drained_after(state, state.level + cost * state.quota.b - state.capacity)
end

function bucket.reset_after(state)
  return drained_after(state, state.level)
end

function bucket.mark(state)
  return state.at
end

function bucket.save(state)
  local quota = state.quota
  return 'G' .. pack('<I6I6I6I8I7', quota.b, quota.c, quota.d, state.level, state.at)
end

-- === sliding_counter: this window and the one before ===

local counter = {}

function counter.open(quota, raw)
  local tick = floor(now / quota.c)
  local number = floor(tick / quota.b)
  local state = { quota = quota, number = number, elapsed = tick - number * quota.b, previous = 0, current = 0 }
  if not raw then
    return state
  end
  if #raw ~= 27 or sub(raw, 1, 1) ~= 'C' then
    return nil
  end
  local window, us, was, previous, current = unpack_bytes('<I6I6I6I4I4', raw, 2)
  if window ~= quota.b or us ~= quota.c then
    -- All of it counts as of now: not for longer than under the old window, nor for less than under the new one.
    state.current = min(previous + current, 4294967295)
  elseif number <= was then
    state.previous, state.current, state.ahead = previous, current, number < was
  elseif number == was + 1 then
    state.previous = current
  end
  return state
end

function counter.room(state)
  local window = state.quota.b
  local used = state.previous * (window - state.elapsed) + state.current * window
  return floor((state.quota.a * window - used) / window)
end

function counter.charge(state, amount)
  state.current = state.current + amount
end

function counter.give_back(state, mark, amount)
  local which = mark == state.number and 'current' or mark == state.number - 1 and 'previous'
  local back = which and min(state[which], amount) or 0
  if back > 0 then
    state[which] = state[which] - back
  end
  return back
end

-- How far into a window the share of the one before has shrunk to what leaves so much.
local function shrunk(window, before, left)
  return window - min(floor(left * window / max(before, 1)), window)
end

function counter.next_after(state, cost)
  if counter.room(state) >= cost then
    return 0
  end
  local quota = state.quota
  local window, left = quota.b, quota.a - state.current - cost
  local tick = state.number * window
  if left >= 0 then
    tick = tick + shrunk(window, state.previous, left)
  else
    tick = tick + window + shrunk(window, state.current, quota.a - cost)
  end
  return max(tick * quota.c - now, 0)
end

function counter.reset_after(state)
  local windows = state.current > 0 and 2 or state.previous > 0 and 1 or 0
  return windows > 0 and max((state.number + windows) * state.quota.b * state.quota.c - now, 0) or 0
end

function counter.mark(state)
  return state.number
end

function counter.save(state)
  local quota = state.quota
  return 'C' .. pack('<I6I6I6I4I4', quota.b, quota.c, state.number, state.previous, state.current)
end

-- === fixed_window ===

local fixed = {}

function fixed.open(quota, raw)
  local state = { quota = quota, number = floor(now / quota.b), count = 0 }
  if not raw then
    return state
  end
  if #raw ~= 17 or sub(raw, 1, 1) ~= 'F' then
    return nil
  end
  local window, number, count = unpack_bytes('<I6I6I4', raw, 2)
  if window ~= quota.b or state.number <= number then
    state.count = count
  end
  state.ahead = window == quota.b and state.number < number
  return state
end

function fixed.room(state)
  return state.quota.a - state.count
end

function fixed.charge(state, amount)
  state.count = state.count + amount
end

function fixed.give_back(state, mark, amount)
  local back = mark == state.number and min(state.count, amount) or 0
  state.count = state.count - back
  return back
end

local function until_end(state)
  return (state.number + 1) * state.quota.b - now
end

function fixed.next_after(state, cost)
  return state.count + cost > state.quota.a and until_end(state) or 0
end

function fixed.reset_after(state)
  return state.count > 0 and until_end(state) or 0
end

function fixed.mark(state)
  return state.number
end

function fixed.save(state)
  return 'F' .. pack('<I6I6I4', state.quota.b, state.number, state.count)
end

-- === sliding_log: a sorted set, a member for each unit of cost, its score the time in seconds with six decimals ===

local log = {}

local function seconds(us)
  return format('%.0f.%06.0f', floor(us / 1000000), us % 1000000)
end

function log.open(quota, before, key)
  -- What is removed at the end under another quota of this call is gone for this one, too.
  local gone_us = max(now - quota.b, before and before.gone_us or 0)
  local gone = seconds(gone_us)
  local count = redis.pcall('ZCOUNT', key, '(' .. gone, '+inf')
  if type(count) ~= 'number' then
    return nil
  end
  return { quota = quota, key = key, gone = gone, gone_us = gone_us, kept = count, added = before and before.added or 0 }
end

function log.room(state)
  return state.quota.a - state.kept - state.added
end

function log.charge(state, amount)
  state.first = state.added + 1
  state.added = state.added + amount
end

-- Removes the members of a charge that are still within the window.
function log.give_back(state, mark, amount)
  local text, first = string.match(mark, '^(.*):(%d+)$')
  if not text then
    return 0
  end
  local back = 0
  for unit = tonumber(first), first + min(amount, state.quota.a) - 1 do
    local member = text .. ':' .. unit
    local score = redis.call('ZSCORE', state.key, member)
    if score and tonumber(score) > tonumber(state.gone) then
      back = back + redis.call('ZREM', state.key, member)
    end
  end
  state.kept = state.kept - back
  return back
end

local function kept_at(state, rank)
  local found = redis.call('ZRANGEBYSCORE', state.key, '(' .. state.gone, '+inf', 'WITHSCORES', 'LIMIT', rank - 1, 1)
  return floor(tonumber(found[2]) * 1000000 + 0.5)
end

-- When the unit of cost of this rank, of those kept and those added, leaves the window.
local function unit_leaves(state, rank)
  local at = rank <= state.kept and kept_at(state, rank) or now
  if state.added > 0 and (at > now or rank > state.kept) then
    -- Those that a clock ahead of this one left come after what is added now.
    local past = redis.call('ZCOUNT', state.key, '(' .. state.gone, seconds(now))
    at = rank <= past + state.added and now or kept_at(state, rank - state.added)
  end
  return at + state.quota.b - now
end

function log.next_after(state, cost)
  local missing = state.kept + state.added + cost - state.quota.a
  return missing > 0 and unit_leaves(state, missing) or 0
end

function log.reset_after(state)
  local units = state.kept + state.added
  return units > 0 and unit_leaves(state, units) or 0
end

function log.mark(state)
  return state.first or 0
end

-- Its members are written at the end.
function log.save(state)
  return state
end

-- === the call ===

local kinds = { R = ring, G = bucket, C = counter, F = fixed, L = log }

local count = tonumber(ARGV[3])
if not nonce or not count or count < 1 then
  return malformed('no quotas')
end
local quotas, at = {}, 4
for i = 1, count do
  local kind = kinds[ARGV[at]]
  local a, b, c, d = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if not (kind and a and b and c and d) then
    return malformed('quota ' .. i)
  end
  quotas[i] = { kind = kind, a = a, b = b, c = c, d = d }
  at = at + QUOTA
end
local first_item, items = at, #KEYS
if items < 1 or items > MAX_ITEMS or #ARGV ~= first_item - 1 + items * ITEM then
  return malformed('expected 1 to 64 keys, and four arguments for each')
end

local plain = redis.call('MGET', unpack(KEYS))

-- One state a key, however many items ask for it; false where the key holds something else.
local states, touched = {}, {}
local function open(key, raw, quota)
  local state = states[key]
  if state and state.quota ~= quota then
    -- Two quotas of a rule in one call, as while rules are reloaded: as if the first had been written before.
    if state.quota.kind ~= quota.kind then
      return false
    end
    return quota.kind.open(quota, state.dirty and quota.kind.save(state) or raw, key)
  end
  if state == nil then
    if not raw and quota.kind ~= log and redis.call('EXISTS', key) == 1 then
      state = false
    else
      state = quota.kind.open(quota, raw, key) or false
    end
    states[key] = state
  end
  return state
end

local asked = {}
for i = 1, items do
  local base = first_item + (i - 1) * ITEM
  local quota, cost, times = quotas[tonumber(ARGV[base])], tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local flags = ARGV[base + 3]
  local returns = flags == 'b'
  if not quota or not times or times < 0 or not (returns or cost and cost >= 1) then
    return malformed('item ' .. i)
  end
  asked[i] = {
    key = KEYS[i], quota = quota, cost = returns and 1 or cost, times = times,
    follows = flags == '+' or flags == '+s', shadow = flags == 's' or flags == '+s',
    returned = returns and (quota.kind == log and ARGV[base + 1] or cost or -1),
  }
end

local parts = { pack('<i8', now) }
local from = 1
while from <= items do
  local to = from
  while to < items and asked[to + 1].follows do
    to = to + 1
  end
  -- What all of the group have room for.
  local granted = asked[from].times
  for i = from, to do
    local item = asked[i]
    local state = open(item.key, plain[i], item.quota)
    item.state = state
    if not state then
      granted = item.shadow and granted or 0
    else
      item.fits = max(0, min(item.times, floor(item.quota.kind.room(state) / item.cost)))
      if not item.shadow then
        granted = min(granted, item.fits)
      end
    end
  end
  for i = from, to do
    local item = asked[i]
    local state, kind = item.state, item.quota.kind
    if not state then
      parts[i + 1] = pack('<i4I4i8i8i8', -1, 0, 0, 0, 0)
    else
      local mine
      if item.returned then
        mine = kind.give_back(state, item.returned, item.times)
      else
        mine = min(granted, item.fits)
        if mine > 0 then
          kind.charge(state, mine * item.cost)
        end
      end
      -- After a step back of the clock a refusal is written, too: what is there ages from now on.
      if mine > 0 or state.ahead and item.times > 0 and not item.returned then
        if not states[item.key].dirty then
          touched[#touched + 1] = item.key
        end
        state.dirty = true
        states[item.key] = state
      end
      local next_after = item.cost > item.quota.a and -1 or kind.next_after(state, item.cost)
      parts[i + 1] = pack('<i4I4i8i8i8', mine, max(0, kind.room(state)), next_after, kind.reset_after(state), kind.mark(state))
    end
  end
  from = to + 1
end

for i = 1, #touched do
  local key = touched[i]
  local state = states[key]
  local kind = state.quota.kind
  if kind == log then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', state.gone)
    local score, made = seconds(now), 0
    while made < state.added do
      local members = {}
      for unit = made + 1, min(state.added, made + CHUNK) do
        members[#members + 1] = score
        members[#members + 1] = nonce .. ':' .. unit
      end
      redis.call('ZADD', key, unpack(members))
      made = made + CHUNK
    end
    redis.call('PEXPIRE', key, ceil(state.quota.b / 1000))
  else
    redis.call('SET', key, kind.save(state), 'PX', max(1, ceil(kind.reset_after(state) / 1000)))
  end
end

return table.concat(parts)
