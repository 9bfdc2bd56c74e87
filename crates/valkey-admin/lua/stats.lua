#!lua flags=no-writes
-- transition: none; one consistent look at everything of a queue that has a fixed key.
--
-- KEYS  1 public LIST  2 lane:high LIST  3 lane:low LIST  4 woken LIST  5 redo LIST  6 delayed ZSET  7 dead ZSET
--       8 dead:body HASH  9 consumers ZSET  10 control HASH
-- ARGV  1 bytes up to which the oldest element of a list is returned (longer ones: only their length)
--       2 consumers returned at most (1..512)
-- Returns { now ms, types, lists, sets, bodies, consumers, consumer count, control, ttl ms of the public list }
--         types: of each key in turn; a key of a foreign type is read as empty
--         lists: for keys 1 to 5 { length, oldest element's length (0 = none), oldest element or '' }
--         sets: for keys 6 and 7 { size, lowest score or '', highest score or '' }
--         consumers: cid, deadline, cid, deadline ..., lowest first; control: field, value, ...
-- Keeps - no payload above the limit travels, whatever lies on the queue.

local EXPECTED = { 'list', 'list', 'list', 'list', 'list', 'zset', 'zset', 'hash', 'zset', 'hash' }
local cap, most = tonumber(ARGV[1]), tonumber(ARGV[2])
if #KEYS ~= 10 or not cap or not most or most < 1 or most > 512 then
  return { err = 'ERR stats: malformed call, expected 10 keys, a byte limit and a consumer limit (1..512)' }
end

local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))

local types, fits = {}, {}
for i, key in ipairs(KEYS) do
  types[i] = redis.call('TYPE', key).ok
  fits[i] = types[i] == EXPECTED[i]
end

local lists = {}
for i = 1, 5 do
  local entry = { 0, 0, '' }
  if fits[i] then
    local oldest = redis.call('LINDEX', KEYS[i], -1)
    entry = { redis.call('LLEN', KEYS[i]), #oldest, #oldest <= cap and oldest or '' }
  end
  lists[i] = entry
end

local sets = {}
for i = 6, 7 do
  local entry = { 0, '', '' }
  if fits[i] then
    local low = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    local high = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')
    entry = { redis.call('ZCARD', KEYS[i]), low[2], high[2] }
  end
  sets[#sets + 1] = entry
end

local consumers, consumer_count = {}, 0
if fits[9] then
  consumers = redis.call('ZRANGE', KEYS[9], 0, most - 1, 'WITHSCORES')
  consumer_count = redis.call('ZCARD', KEYS[9])
end
return {
  now, types, lists, sets, fits[8] and redis.call('HLEN', KEYS[8]) or 0, consumers, consumer_count,
  fits[10] and redis.call('HGETALL', KEYS[10]) or {}, fits[1] and redis.call('PTTL', KEYS[1]) or -1,
}
