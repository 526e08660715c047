-- Counts against several limits, in Redis: all of them are charged, or none where one has no room (counters.py).
--
-- KEYS: what is counted. ARGV: how long a minute is, and within how long what comes is kept as one entry, in
-- milliseconds; then for each key its quota (-1: none), cost, the room that there must be, forget_at (0: of a minute)
-- and, of a sum, its seed or "".
-- Returns the position of the limit without room (0: all are charged; -1: a sum is not there, and has no seed), then
-- for each key what is used and the milliseconds to wait.
--
-- Of a minute: a list of "first:last:count:sum" from the oldest entry to the newest; `sum` is of all counts up to here,
-- those that are gone included. The clock is that of Redis alone.

local WINDOW, MERGED = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function limit_at(i)
  local quota, cost, wanted, forget_at, seed = unpack(ARGV, 5 * i - 2, 5 * i + 2)
  return tonumber(quota), tonumber(cost), tonumber(wanted), tonumber(forget_at), seed
end

local function parsed(entry)
  if not entry then return nil end
  local first, last, count, sum = string.match(entry, '(%d+):(%d+):(%d+):(%d+)')
  return {first = tonumber(first), last = tonumber(last), count = tonumber(count), sum = tonumber(sum)}
end

local function written(first, last, count, sum)
  return string.format('%.0f:%.0f:%.0f:%.0f', first, last, count, sum)
end

-- Until so much of it is a minute old; a minute where there is not so much.
local function wait_for(key, missing, oldest)
  local entry, freed, position = oldest, oldest.count, 0
  while freed < missing do
    position = position + 1
    entry = parsed(redis.call('LINDEX', key, position))
    if not entry then return WINDOW end
    freed = freed + entry.count
  end
  return entry.last + WINDOW - now
end

local refused, used, wait, newest = 0, {}, {}, {}

for i, key in ipairs(KEYS) do
  local quota, _, wanted, forget_at, seed = limit_at(i)
  local has_room
  if forget_at == 0 then
    local oldest = parsed(redis.call('LINDEX', key, 0))
    while oldest and oldest.last + WINDOW <= now do
      redis.call('LPOP', key)
      oldest = parsed(redis.call('LINDEX', key, 0))
    end
    newest[i] = oldest and parsed(redis.call('LINDEX', key, -1))
    used[i] = oldest and newest[i].sum - oldest.sum + oldest.count or 0
    has_room = used[i] + wanted <= quota
    wait[i] = oldest and wait_for(key, has_room and 1 or used[i] + wanted - quota, oldest) or WINDOW
  else
    local sum = redis.call('GET', key)
    if not sum then
      if seed == '' then return {-1} end
      redis.call('SET', key, seed)
      redis.call('EXPIREAT', key, forget_at)
      sum = seed
    end
    used[i], wait[i] = tonumber(sum), 0
    has_room = quota < 0 or used[i] + wanted <= quota
  end
  if refused == 0 and wanted > 0 and not has_room then refused = i end
end

if refused == 0 then
  for i, key in ipairs(KEYS) do
    local _, cost, _, forget_at = limit_at(i)
    local last = newest[i]
    if cost > 0 and forget_at > 0 then
      redis.call('INCRBY', key, cost)
    elseif cost > 0 then
      if last and now - last.first < MERGED then
        local entry = written(last.first, math.max(last.last, now), last.count + cost, last.sum + cost)
        redis.call('LSET', key, -1, entry)
      else
        redis.call('RPUSH', key, written(now, now, cost, (last and last.sum or 0) + cost))
      end
      redis.call('PEXPIRE', key, WINDOW)
    end
    used[i] = used[i] + cost
  end
end

local answer = {refused}
for i = 1, #KEYS do
  answer[2 * i], answer[2 * i + 1] = used[i], wait[i]
end
return answer
