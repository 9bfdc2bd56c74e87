#!lua flags=allow-oom
-- transition  a turn that is held -> free
--
-- KEYS  1 the turn
-- ARGV  1 the token of who holds it
-- Returns 1; 0: it is held by somebody else, or by nobody. Nothing was done then.
-- Keeps that nobody ends what is another's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
