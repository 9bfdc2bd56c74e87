#!lua
-- transition  a request to a limit -> counted in a sorted set, or refused
--
-- What valkit is measured against: the usual sliding log, one request a call, as other programs have it.
--
-- KEYS  1 the sorted set: a member for each request, its score the time in seconds
-- ARGV  1 now in seconds, by the clock of the caller
--       2 window in seconds
--       3 limit
--       4 a member that nobody else adds
-- Returns 1 = counted, 0 = refused.
-- Keeps never more members than the limit.

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1] - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
return 1
