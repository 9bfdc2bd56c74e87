#!lua flags=allow-oom
-- transition: a consumer gives back what it still holds, uncounted and to the head of where it came from; with nothing left it leaves
-- KEYS: 1 public LIST, 2 lane:high LIST, 3 lane:low LIST, 4 inflight:<cid> HASH, 5 consumers ZSET, 6 redo LIST, 7 control HASH, 8 bell (shard channel)
-- ARGV: 1 cid, 2 fields to move at most (1..256), 3 bytes after which no further field is moved
-- Returns: {now ms, released, fields left}
-- Keeps: order (of at most 512 fields the oldest ends up first in line); works alike for a consumer that leaves and for a fenced one that finds its fields still there; after it no take of this cid can claim

local call, pcall = redis.call, redis.pcall
local SAMPLE = 512
local LANE_KEY = { n = KEYS[1], h = KEYS[2], l = KEYS[3] }
local INFLIGHT, CONSUMERS, REDO, CONTROL, BELL = KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local READ = { 'LLEN', 'LLEN', 'LLEN', 'HLEN', 'ZCARD', 'LLEN', 'HLEN' }
local cid, limit, byte_limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not (limit and byte_limit) or limit > 256 then return { err = 'ERR release.lua: malformed arguments' } end
-- A right that is missing once a field has left its hash would cost a message.
if not redis.acl_check_cmd('rpush', REDO) then return { err = "NOPERM the scripts of this queue need the 'rpush' command" } end
for i, command in ipairs(READ) do
  local reply = pcall(command, KEYS[i])
  if type(reply) == 'table' and reply.err then
    return { err = string.sub(reply.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. KEYS[i] .. ' is not of the type this queue uses' or reply.err }
  end
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- A hash of more than a few takes is read in samples: to read and sort all of it at each call would block the server.
local fields, held = {}, call('HLEN', INFLIGHT)
for _, field in ipairs(held > SAMPLE and call('HRANDFIELD', INFLIGHT, SAMPLE) or call('HKEYS', INFLIGHT)) do
  local take, i = string.match(field, '^(%d+)-(%d+)$')
  if take then fields[#fields + 1] = { field, tonumber(take), tonumber(i) } end
end
if held <= SAMPLE then held = #fields end
table.sort(fields, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[3] > b[3]) end)
-- Fenced first: a take of this cid that is still on its way must find nothing to do.
if call('ZSCORE', CONSUMERS, cid) then call('ZADD', CONSUMERS, 0, cid) end

local released, bytes = 0, 0
for n = 1, math.min(#fields, limit) do
  if bytes >= byte_limit then break end
  local field = fields[n][1]
  local value = call('HGET', INFLIGHT, field)
  call('HDEL', INFLIGHT, field)
  local claimed, crashes, attempts, lane, raw_at = string.match(value, '^(%d+)|(%d+)|(%d+)|([nhl])|()')
  if not claimed then crashes, attempts, lane, raw_at = '0', '0', 'n', 1 end
  local raw = string.sub(value, raw_at)
  if crashes == '0' and attempts == '0' then
    call('RPUSH', LANE_KEY[lane], raw)
  else
    call('RPUSH', REDO, crashes .. '|' .. attempts .. '|' .. lane .. '|' .. raw)
  end
  released = released + 1
  bytes = bytes + #value
end
local left = held - released
if left == 0 then
  call('DEL', INFLIGHT)
  call('ZREM', CONSUMERS, cid)
  call('HDEL', CONTROL, 'n:' .. cid)
end
if released > 0 then pcall('SPUBLISH', BELL, 'released') end
return { now, released, left }
