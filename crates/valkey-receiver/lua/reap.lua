#!lua flags=allow-oom
-- transition: what a dead consumer held goes to redo with its crash counted, or, when it alone can have caused the crash once too often, to the dead letters
-- KEYS: 1 consumers ZSET, 2 control HASH, 3 inflight:<dead cid> HASH, 4 redo LIST, 5 dead ZSET, 6 dead:body HASH, 7 stats:<minute> HASH, 8 bell (shard channel)
-- ARGV: 1 dead cid, 2 lease ms of the caller, 3 crashes after which a message that was alone is dead, 4 fields to move at most (1..256), 5 bytes after which no further field is moved
-- Returns: {state, now ms, moved to redo, moved to dead, fields left}; state: 'reaped' | 'alive' | 'gone' | 'spared' (the server restarted: every lease was renewed once)
-- Keeps: the deadline is 0, which fences the consumer for good, before its first field moves; a field moves once; an outage of the server is nobody's crash

local call, pcall = redis.call, redis.pcall
local SAMPLE = 512
local CONSUMERS, CONTROL, INFLIGHT, REDO, DEAD, DEAD_BODY, STATS, BELL = unpack(KEYS)
local LEASE_MAX_MS = 3600000
local cid, lease, max_crashes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local limit, byte_limit = tonumber(ARGV[4]), tonumber(ARGV[5])
if not (lease and max_crashes and limit and byte_limit) or limit > 256 then return { err = 'ERR reap.lua: malformed arguments' } end

-- A right that is missing once a field has left its hash would cost a message.
for command, key in pairs({ hset = INFLIGHT, lpush = REDO, zadd = DEAD }) do
  if not redis.acl_check_cmd(command, key) then
    return { err = "NOPERM the scripts of this queue need the '" .. command .. "' command" }
  end
end
for key, command in pairs({ [CONSUMERS] = 'ZCARD', [CONTROL] = 'HLEN', [INFLIGHT] = 'HLEN', [REDO] = 'LLEN', [DEAD] = 'ZCARD', [DEAD_BODY] = 'HLEN' }) do
  local reply = pcall(command, key)
  if type(reply) == 'table' and reply.err then
    return { err = string.sub(reply.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. key .. ' is not of the type this queue uses' or reply.err }
  end
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Whatever somebody has written there, `nan` and `inf` read as numbers: no lease is longer than an hour.
local longest = tonumber(call('HGET', CONTROL, 'lease') or '0') or 0
longest = longest == longest and math.max(lease, math.min(longest, LEASE_MAX_MS)) or lease

local run_id = string.match(call('INFO', 'server'), 'run_id:(%x+)') or ''
local known = call('HGET', CONTROL, 'run_id')
local top = call('ZRANGE', CONSUMERS, -1, -1, 'WITHSCORES')
local stepped_back = top[1] and tonumber(top[2]) > now + 2 * longest
if known ~= run_id or stepped_back then
  local all = call('ZRANGE', CONSUMERS, 0, 511, 'WITHSCORES')
  for i = 1, #all, 2 do
    local score = tonumber(all[i + 1])
    local restarted = known and known ~= run_id and score > 0
    if restarted or score > now + 2 * longest then call('ZADD', CONSUMERS, string.format('%.0f', now + longest), all[i]) end
  end
  call('HSET', CONTROL, 'run_id', run_id)
end

local deadline = call('ZSCORE', CONSUMERS, cid)
if not deadline then return { 'gone', now, 0, 0, 0 } end
deadline = tonumber(deadline)
if deadline > now then return { (known and known ~= run_id) and 'spared' or 'alive', now, 0, 0, 0 } end

-- A hash of more than a few takes is read in samples: to read and sort all of it at each call would block the server.
local fields, held = {}, call('HLEN', INFLIGHT)
for _, field in ipairs(held > SAMPLE and call('HRANDFIELD', INFLIGHT, SAMPLE) or call('HKEYS', INFLIGHT)) do
  local take, i = string.match(field, '^(%d+)-(%d+)$')
  if take then fields[#fields + 1] = { field, tonumber(take), tonumber(i) } end
end
if held <= SAMPLE then held = #fields end
if deadline > 0 then
  call('ZADD', CONSUMERS, 0, cid)
  -- How many were in flight together when the consumer died: later calls see fewer, and must not take the last one for a loner.
  if held > 0 then call('HSET', INFLIGHT, '@', held) end
end
local alone = tonumber(call('HGET', INFLIGHT, '@') or '0') == 1
table.sort(fields, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3]) end)

local moved, buried, bytes = 0, 0, 0
for n = 1, math.min(#fields, limit) do
  if bytes >= byte_limit then break end
  local field, take = fields[n][1], fields[n][2]
  local value = call('HGET', INFLIGHT, field)
  call('HDEL', INFLIGHT, field)
  local claimed, crashes, attempts, lane, raw_at = string.match(value, '^(%d+)|(%d+)|(%d+)|([nhl])|()')
  if not claimed then claimed, crashes, attempts, lane, raw_at = string.format('%.0f', math.floor(take / 16)), '0', '0', 'n', 1 end
  local raw = string.sub(value, raw_at)
  crashes = tonumber(crashes) + 1
  if alone and crashes >= max_crashes then
    local id = field .. '-' .. cid
    local meta = string.format('{"reason":"crashed","error":"its consumer died %.0f times with it, the last time with nothing else in flight","attempts":%s,"crashes":%.0f,"lane":"%s","at_ms":%.0f,"claimed_ms":%s,"consumer":"%s"}',
      crashes, attempts, crashes, lane, now, claimed, cid)
    call('ZADD', DEAD, now, id)
    call('HSET', DEAD_BODY, id, #meta .. '|' .. meta .. raw)
    buried = buried + 1
  else
    call('LPUSH', REDO, string.format('%.0f|', crashes) .. attempts .. '|' .. lane .. '|' .. raw)
    moved = moved + 1
  end
  bytes = bytes + #value
end

local left = held - moved - buried
if left == 0 then
  call('DEL', INFLIGHT)
  call('ZREM', CONSUMERS, cid)
  call('HDEL', CONTROL, 'n:' .. cid)
end
for name, count in pairs({ reclaimed = moved, dead = buried }) do
  if count > 0 and pcall('HINCRBY', STATS, name, count) == count then pcall('EXPIRE', STATS, 86400) end
end
if moved > 0 or left > 0 then pcall('SPUBLISH', BELL, 'reclaimed') end
return { 'reaped', now, moved, buried, left }
