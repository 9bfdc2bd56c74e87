#!lua flags=allow-oom
-- transition: a name that is no consumer's and holds nothing becomes a consumer with a lease
-- KEYS: 1 public LIST, 2 lane:high LIST, 3 lane:low LIST, 4 woken LIST, 5 inflight:<cid> HASH, 6 consumers ZSET, 7 redo LIST,
--       8 delayed ZSET, 9 dead ZSET, 10 dead:body HASH, 11 control HASH
-- ARGV: 1 cid, 2 lease ms, 3 the newest format of a queue that the caller knows (1 if absent)
-- Returns: {'joined' | 'fenced', now ms}; fenced: this cid is among the consumers, dead ones included, or has an in-flight hash.
--          {'newer', now ms, format}: the caller does not know this queue's format
-- Keeps: only a join makes a consumer, so that a late take of a reaped one cannot bring it back; who does not know the format touches nothing

local call, pcall = redis.call, redis.pcall
local READ = { 'LLEN', 'LLEN', 'LLEN', 'LLEN', 'HLEN', 'ZCARD', 'LLEN', 'ZCARD', 'ZCARD', 'HLEN', 'HLEN' }
local CONSUMERS, CONTROL = KEYS[6], KEYS[11]
local LEASE_MAX_MS = 3600000
local cid, lease, knows = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3] or '1')
if not (lease and knows) then return { err = 'ERR join.lua: malformed arguments' } end
-- All that the scripts of a queue need: better refused by name now than in the middle of a take.
local NEEDED = {
  del = 5, exists = 5, hdel = 5, hget = 5, hgetall = 5, hkeys = 5, hlen = 5, hmget = 11, hrandfield = 5, hset = 5, lindex = 7, llen = 1, lpush = 7, lrange = 7, persist = 1,
  rpop = 1, rpush = 1, zadd = 6, zcard = 6, zrange = 6, zrangebyscore = 8, zrem = 8, zscore = 6, info = 0, time = 0,
}
for command, key in pairs(NEEDED) do
  if not redis.acl_check_cmd(command, KEYS[key] or '') then
    return { err = "NOPERM the scripts of this queue need the '" .. command .. "' command" }
  end
end
for i, command in ipairs(READ) do
  local reply = pcall(command, KEYS[i])
  if type(reply) == 'table' and reply.err then
    return { err = string.sub(reply.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. KEYS[i] .. ' is not of the type this queue uses' or reply.err }
  end
end

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Also what is no number was written by something we do not know.
local format = call('HGET', CONTROL, 'version')
if format and not (tonumber(format) and tonumber(format) <= knows) then return { 'newer', now, format } end
if call('ZSCORE', CONSUMERS, cid) or call('EXISTS', KEYS[5]) == 1 then return { 'fenced', now } end

-- The longest lease in use bounds what a deadline can honestly be; reap.lua reads both fields. What is no lease, or longer than any may be, is overwritten.
local longest = tonumber(call('HGET', CONTROL, 'lease') or '0') or 0
if not (longest >= lease and longest <= LEASE_MAX_MS) then
  longest = lease
  call('HSET', CONTROL, 'lease', ARGV[2])
end
local run_id = string.match(call('INFO', 'server'), 'run_id:(%x+)') or ''
local known = call('HGET', CONTROL, 'run_id')
if known ~= run_id then
  -- The server restarted since: no consumer could renew meanwhile, so each gets one lease to come back.
  if known then
    local all = call('ZRANGE', CONSUMERS, 0, 511, 'WITHSCORES')
    for i = 1, #all, 2 do
      if tonumber(all[i + 1]) > 0 then call('ZADD', CONSUMERS, string.format('%.0f', now + longest), all[i]) end
    end
  end
  call('HSET', CONTROL, 'run_id', run_id)
end
call('ZADD', CONSUMERS, string.format('%.0f', now + lease), cid)
return { 'joined', now }
