-- Takes ARGV off the sums at KEYS that are there; none falls below 0.

for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 and redis.call('DECRBY', key, ARGV[i]) < 0 then
    redis.call('SET', key, 0, 'KEEPTTL')
  end
end
