-- Has sums count for one thing what it costs now, in place of what they count for it until now (counters.py).
--
-- KEYS: the thing, then the sums. ARGV: its cost; what it was, where Redis does not know; forget_at; then for each sum its
-- quota (-1: none) and its seed or "".
-- Returns the position of the sum without room (0: all are changed; -1: one is not there, and has no seed), then for each
-- sum what is used and 0; only the first where nothing is to be changed.

local cost, forget_at = tonumber(ARGV[1]), tonumber(ARGV[3])
local more = cost - tonumber(redis.call('GET', KEYS[1]) or ARGV[2])
if more == 0 then return {0} end

local refused, used = 0, {}

for i = 1, #KEYS - 1 do
  local key, quota, seed = KEYS[i + 1], tonumber(ARGV[2 * i + 2]), ARGV[2 * i + 3]
  local sum = redis.call('GET', key)
  if not sum then
    if seed == '' then return {-1} end
    redis.call('SET', key, seed)
    redis.call('EXPIREAT', key, forget_at)
    sum = seed
  end
  used[i] = tonumber(sum)
  if refused == 0 and more > 0 and quota >= 0 and used[i] + more > quota then refused = i end
end

if refused == 0 then
  for i in ipairs(used) do
    used[i] = math.max(0, used[i] + more)
    redis.call('SET', KEYS[i + 1], used[i], 'KEEPTTL')
  end
  redis.call('SET', KEYS[1], cost)
  redis.call('EXPIREAT', KEYS[1], forget_at)
end

local answer = {refused}
for i = 1, #used do
  answer[2 * i], answer[2 * i + 1] = used[i], 0
end
return answer
