#!lua flags=allow-oom
-- transition: settle what is done, renew the lease, promote what is due, claim what is ready; the hot path, one round trip
-- KEYS: 1 public LIST, 2 lane:high LIST, 3 lane:low LIST, 4 woken LIST, 5 inflight:<cid> HASH, 6 consumers ZSET, 7 redo LIST,
--       8 delayed ZSET, 9 dead ZSET, 10 dead:body HASH, 11 control HASH, 12 stats:<minute> HASH, 13 bell (shard channel)
-- ARGV: 1 cid, 2 take number, 3 lease ms, 4 want (0..512), 5 bytes after which no further slice is popped, then four groups, each led by its count:
--       acks: field; retries: field, delay ms, 1 if it counts as an attempt; dead: field, meta JSON; hand-backs: field, newest first
-- Returns: {'ok', now ms, acks removed, others removed, next due ms or 0, earliest foreign deadline ms or 0, cid for reap.lua or '',
--           hold ('' | 'paused' | 'rate' | 'full' | 'suspect'), hold ms, 1 if work is left, shape, items, fields now in flight without '#'}
--          shape has a letter an item: n h l = raw bytes of that lane; r = a frame. Item i is in flight as field '<take number>-<i>'.
--          {'fenced', now ms, 1 if it is known}: this cid was reaped, or its state is gone. {'stale', now ms, last}: a later take went before; nothing was done.
-- Keeps: a message is in exactly one place; settling is gated on the removal of the own in-flight field; whatever can fail is read before the first write

local call, pcall = redis.call, redis.pcall
local PUBLIC, WOKEN, INFLIGHT, CONSUMERS, REDO, DELAYED = KEYS[1], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local DEAD, DEAD_BODY, CONTROL, STATS, BELL = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local LANE_KEY = { n = PUBLIC, h = KEYS[2], l = KEYS[3] }
local SLICE, PROMOTE_MAX, SUSPECT_BATCH = 8, 64, 8
local RATE_MIN, RATE_MAX, BURST_MAX, HOLD_MAX_MS, LEASE_MAX_MS = 1e-9, 1e9, 1e9, 3600000, 3600000

local cid, take, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local want, byte_limit = tonumber(ARGV[4]), tonumber(ARGV[5])

local refusal
local function read(command, key, ...)
  local reply = pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    refusal = refusal or (string.sub(reply.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. key .. ' is not of the type this queue uses' or reply.err)
    return nil
  end
  return reply
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Reads, which are also the type checks.
local deadline = read('ZSCORE', CONSUMERS, cid)
local last = read('HGET', INFLIGHT, '#')
local control = read('HMGET', CONTROL, 'paused', 'rate', 'burst', 'tat', 'max_in_flight', 'lease')
local ready = {
  public = read('LLEN', PUBLIC), high = read('LLEN', KEYS[2]), low = read('LLEN', KEYS[3]),
  woken = read('LLEN', WOKEN), redo = read('LLEN', REDO),
}
local head = read('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')

-- Argument groups are walked once here, so that a bad call fails before it writes.
local at = 6
local function group(width)
  local count = tonumber(ARGV[at])
  if not count or count > 512 or #ARGV < at + count * width then return nil end
  local first = at + 1
  at = first + count * width
  return { first = first, count = count, width = width }
end
local acks, retries, deads, backs = group(1), group(3), group(2), group(1)
if not (take and lease and want and byte_limit and acks and retries and deads and backs) or want > 512 then
  return { err = 'ERR take.lua: malformed arguments' }
end
if deads.count > 0 then
  read('ZCARD', DEAD)
  read('HLEN', DEAD_BODY)
end
-- A right that is missing once something has left its place would cost a message. Asked for only where it matters: each question takes half a microsecond.
local function need(needed, command, key)
  if needed and not refusal and not redis.acl_check_cmd(command, key) then
    refusal = "NOPERM the scripts of this queue need the '" .. command .. "' command"
  end
end
need(want > 0 or deads.count > 0, 'hset', INFLIGHT)
need(retries.count > 0 or deads.count > 0, 'zadd', DELAYED)
need(retries.count > 0 or head and head[1] and tonumber(head[2]) <= now, 'lpush', REDO)
need(backs.count > 0, 'rpush', REDO)
if refusal then return { err = refusal } end

if not deadline or tonumber(deadline) == 0 then return { 'fenced', now, deadline and 1 or 0 } end
if last and take <= tonumber(last) then return { 'stale', now, last } end

local function parse(value)
  local claimed, crashes, attempts, lane, raw_at = string.match(value, '^(%d+)|(%d+)|(%d+)|([nhl])|()')
  if not claimed then return 0, 0, 'n', value end
  return tonumber(crashes), tonumber(attempts), lane, string.sub(value, raw_at)
end

-- Settle.
local acked, others = 0, 0
if acks.count > 0 then
  acked = call('HDEL', INFLIGHT, unpack(ARGV, acks.first, acks.first + acks.count - 1))
end
local function release(field)
  local value = call('HGET', INFLIGHT, field)
  if not value then return nil end
  call('HDEL', INFLIGHT, field)
  others = others + 1
  return value
end
local retried, buried = 0, 0
for i = retries.first, retries.first + retries.count * 3 - 1, 3 do
  local value = release(ARGV[i])
  if value then
    local crashes, attempts, lane, raw = parse(value)
    local delay = tonumber(ARGV[i + 1]) or 0
    if ARGV[i + 2] == '1' then attempts = attempts + 1 end
    local frame = crashes .. '|' .. attempts .. '|' .. lane .. '|' .. raw
    if delay > 0 then
      local due = string.format('%.0f', now + delay)
      call('ZADD', DELAYED, due, ARGV[i] .. '-' .. cid .. '|' .. frame)
    else
      call('LPUSH', REDO, frame)
      ready.redo = ready.redo + 1
    end
    retried = retried + 1
  end
end
for i = deads.first, deads.first + deads.count * 2 - 1, 2 do
  local value = release(ARGV[i])
  if value then
    local _, _, _, raw = parse(value)
    local id, meta = ARGV[i] .. '-' .. cid, ARGV[i + 1]
    call('ZADD', DEAD, now, id)
    call('HSET', DEAD_BODY, id, #meta .. '|' .. meta .. raw)
    buried = buried + 1
  end
end
for i = backs.first, backs.first + backs.count - 1 do
  local value = release(ARGV[i])
  if value then
    local crashes, attempts, lane, raw = parse(value)
    if crashes == 0 and attempts == 0 then
      call('RPUSH', LANE_KEY[lane], raw)
    else
      call('RPUSH', REDO, crashes .. '|' .. attempts .. '|' .. lane .. '|' .. raw)
    end
  end
end

-- Renew. Under load this is all the heartbeat there is.
call('ZADD', CONSUMERS, now + lease, cid)

-- Promote. A frame without attempts and crashes says nothing that the raw bytes do not.
if retried > 0 then head = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES') end
local promoted, promoted_bytes = 0, 0
while head[1] and tonumber(head[2]) <= now and promoted < PROMOTE_MAX and promoted_bytes < byte_limit do
  local due = call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, SLICE)
  for _, member in ipairs(due) do
    local crashes, attempts, lane, raw_at = string.match(member, '^[^|]*|(%d+)|(%d+)|([nhl])|()')
    call('ZREM', DELAYED, member)
    if not crashes then
      call('LPUSH', PUBLIC, member)
    elseif crashes == '0' and attempts == '0' then
      call('LPUSH', LANE_KEY[lane], string.sub(member, raw_at))
    else
      call('LPUSH', REDO, string.sub(member, (string.find(member, '|', 1, true)) + 1))
    end
    promoted_bytes = promoted_bytes + #member
  end
  promoted = promoted + #due
  head = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
end
if promoted > 0 or backs.count > 0 then
  ready.public, ready.high, ready.low = call('LLEN', PUBLIC), call('LLEN', KEYS[2]), call('LLEN', KEYS[3])
  ready.redo = call('LLEN', REDO)
end
if ready.public > 0 then call('PERSIST', PUBLIC) end

-- How many may be claimed.
local hold, hold_ms = '', 0
local room = want
-- Whatever somebody has written there: `nan`, which reads as a number, is none.
local function setting(text)
  local value = tonumber(text)
  return value == value and value or nil
end
local rate, burst, tat = setting(control[2]), setting(control[3]), setting(control[4])
local emission
if control[1] == '1' then
  room, hold = 0, 'paused'
elseif rate and rate > 0 then
  emission = 1000000 / math.min(math.max(rate, RATE_MIN), RATE_MAX)
  local bucket = math.min(math.max(burst or 1, 1), BURST_MAX) * emission
  -- No claim puts it further ahead than a full bucket: beyond is from before the clock stepped back.
  tat = math.min(math.max(tat or 0, now_us), now_us + bucket)
  local spare = now_us + bucket - tat
  local tokens = math.max(math.floor(spare / emission + 0.000001), 0)
  if tokens < room then
    room, hold = tokens, 'rate'
    hold_ms = math.min(math.max(math.ceil((emission - (spare - tokens * emission)) / 1000), 1), HOLD_MAX_MS)
  end
end
local cap = setting(control[5])
local function held() return call('HLEN', INFLIGHT) - (last and 1 or 0) end
local mine = 'n:' .. cid
if cap then
  local others_held, fields = 0, call('HGETALL', CONTROL)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'n:' and fields[i] ~= mine then others_held = others_held + (setting(fields[i + 1]) or 0) end
  end
  -- Whole messages: half a one would fail in the middle of the claim.
  local free = math.max(math.floor(cap - others_held) - held(), 0)
  if free < room then room, hold, hold_ms = free, 'full', 0 end
end

-- Claim.
local fields, shape, items, bytes = { '#', ARGV[2] }, {}, {}, 0
local function claim(kind, prefix, item)
  local i = #items + 1
  items[i], shape[i] = item, kind
  fields[#fields + 1] = ARGV[2] .. '-' .. i
  -- Most are bare: Lua reads every byte of a string that it makes. No header begins like an object, so the two are never mistaken.
  fields[#fields + 1] = kind == 'n' and string.byte(item) == 123 and item or prefix .. item
  bytes = bytes + #item
end
local stamp = string.format('%.0f|', now)
local function pop(key, lane, limit)
  local prefix, taken = stamp .. '0|0|' .. lane .. '|', 0
  while taken < limit and bytes < byte_limit do
    local count = math.min(limit - taken, SLICE)
    local got = call('RPOP', key, count)
    if not got then break end
    for _, raw in ipairs(got) do claim(lane, prefix, raw) end
    taken = taken + #got
    if #got < count then break end
  end
  return taken
end
local function crashes_of(frame) return tonumber(string.match(frame, '^(%d+)|%d+|[nhl]|') or '0') end
-- Claims up to `limit` frames from the head of redo, as long as `fits(crashes)`; tells whether a misfit stopped it.
local function pop_redo(limit, fits)
  local taken = 0
  while taken < limit and bytes < byte_limit do
    local count = math.min(limit - taken, SLICE)
    local slice = call('LRANGE', REDO, -count, -1)
    local good = 0
    for i = #slice, 1, -1 do
      if not fits(crashes_of(slice[i])) then break end
      good = good + 1
    end
    if good > 0 then
      call('RPOP', REDO, good)
      for i = #slice, #slice - good + 1, -1 do claim('r', stamp, slice[i]) end
    end
    taken = taken + good
    if good < #slice then return true, taken end
    if #slice < count then break end
  end
  return false, taken
end

local lanes_wait = ready.public + ready.high + ready.low + ready.woken
if room > 0 and ready.redo > 0 then
  local suspicion = crashes_of(call('LINDEX', REDO, -1))
  if suspicion >= 2 then
    -- A suspect shares its consumer with few others, and from its third crash on with none: only so can a crash be pinned on it.
    if held() > 0 then
      room, hold, hold_ms = 0, 'suspect', 0
    elseif suspicion == 2 then
      pop_redo(math.min(room, SUSPECT_BATCH), function(crashes) return crashes == 2 end)
      room = 0
    else
      pop_redo(1, function() return true end)
      room = 0
    end
  end
end
if room > 0 then
  local left = room
  left = left - pop(WOKEN, 'n', math.min(left, ready.woken))
  if left > 0 and ready.redo > 0 then
    local share = lanes_wait > ready.woken and math.max(math.floor(left / 2), 1) or left
    local _, taken = pop_redo(math.min(share, ready.redo), function(crashes) return crashes < 2 end)
    left = left - taken
  end
  -- Strict priority, but every fourth take is led by the normal lane and every sixteenth by the low one: none starves.
  local order = { 'h', 'n', 'l' }
  if take % 16 == 0 then order = { 'l', 'h', 'n' } elseif take % 4 == 0 then order = { 'n', 'h', 'l' } end
  local length = { h = ready.high, n = ready.public, l = ready.low }
  for _, lane in ipairs(order) do
    if left > 0 and length[lane] > 0 then left = left - pop(LANE_KEY[lane], lane, math.min(left, length[lane])) end
  end
end
call('HSET', INFLIGHT, unpack(fields))
local claimed = #items
if emission and claimed > 0 then call('HSET', CONTROL, 'tat', string.format('%.0f', tat + claimed * emission)) end
local holds = call('HLEN', INFLIGHT) - 1
if cap then call('HSET', CONTROL, mine, holds) end

-- Counters for graphs: their loss is nobody's loss, so nothing here may fail the take.
if claimed > 0 or acked > 0 or retried > 0 or buried > 0 then
  local counts = { taken = claimed, acked = acked, retried = retried, dead = buried }
  for name, count in pairs(counts) do
    if count > 0 and pcall('HINCRBY', STATS, name, count) == count then pcall('EXPIRE', STATS, 86400) end
  end
end

local left_behind = lanes_wait + ready.redo - claimed > 0
if left_behind and promoted > 0 then pcall('SPUBLISH', BELL, 'due') end

-- Whom to reap, or when to look again.
local expired, foreign = '', 0
local first = call('ZRANGE', CONSUMERS, 0, 1, 'WITHSCORES')
for i = 1, #first, 2 do
  if first[i] ~= cid and expired == '' and foreign == 0 then
    local score = tonumber(first[i + 1])
    if score <= now then expired = first[i] else foreign = score end
  end
end
if expired == '' and (claimed == 0 or take % 16 == 0) then
  -- A deadline so far ahead is from before the clock stepped back; reap.lua pulls it back.
  local top = call('ZRANGE', CONSUMERS, -1, -1, 'WITHSCORES')
  local longest = math.max(lease, math.min(setting(control[6]) or 0, LEASE_MAX_MS))
  if tonumber(top[2]) > now + 2 * longest then expired = top[1] end
end
local next_due = head[1] and tonumber(head[2]) or 0
return { 'ok', now, acked, others, next_due, foreign, expired, hold, hold_ms, left_behind and 1 or 0, table.concat(shape), items, holds }
