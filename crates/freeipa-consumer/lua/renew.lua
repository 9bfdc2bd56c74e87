#!lua flags=allow-oom
-- transition  a turn that is held -> held for longer
--
-- KEYS  1 the turn
-- ARGV  1 the token of who holds it
--       2 how long from now, in ms
-- Returns 1; 0: it is held by somebody else, or by nobody. Nothing was done then.
-- Keeps that nobody prolongs what is another's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
