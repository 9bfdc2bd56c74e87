#!lua flags=no-writes
-- transition: none; which commands the rules of access control would let this user run
--
-- KEYS  none: rules are asked about keys, no key is looked at
-- ARGV  commands, each as the number of its words and its words
-- Returns one letter a command: y = it may, n = it may not, u = the server does not know the command
-- Keeps - commands come whole, with all their keys: a server may abort where it looks for a key and finds no word.

local letters, at = {}, 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  if not count or count < 1 or count > 16 or at + count > #ARGV then
    return { err = 'ERR rights: malformed call, expected commands of 1 to 16 words' }
  end
  local known, may = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + count))
  letters[#letters + 1] = not known and 'u' or (may and 'y' or 'n')
  at = at + count + 1
end
return table.concat(letters)
