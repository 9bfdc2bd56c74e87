#!lua
-- transition: none; nothing is read and nothing written
--
-- KEYS  none
-- ARGV  none
-- Returns 1
-- Keeps - no flags: the server refuses this as it refuses push.lua (OOM, NOREPLICAS, MISCONF, READONLY), before its first line.

return 1
