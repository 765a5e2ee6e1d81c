# Runs in the guest: guest-writer.py DEVICE REGION_BYTES BYTES_PER_SECOND SECONDS TURN
# Overwrites random 4 KiB blocks of the device's first REGION_BYTES, one at a time, by O_DIRECT, at an even rate. A write that comes late
# does not delay those after it for longer than it takes to catch up. Prints one line with how long the writes took.
import os
import sys
import time

device, region_bytes, rate, seconds, turn = sys.argv[1], *map(int, sys.argv[2:6])
block_bytes = 4096
header_bytes = bytes.__basicsize__ - 1

disk = os.open(device, os.O_WRONLY | os.O_DIRECT)
buffers = [os.urandom(2 * block_bytes) for _ in range(64)]
# Any part of a random buffer is random: the part that happens to be aligned.
views = []
for buffer in buffers:
    padding = -(id(buffer) + header_bytes) % block_bytes
    views.append(memoryview(buffer)[padding : padding + block_bytes])
blocks = region_bytes // block_bytes
pause_ns = block_bytes * 1_000_000_000 // rate
clock = time.perf_counter_ns
took_ns = []
begin = clock()
due = begin
end = begin + seconds * 1_000_000_000
while due < end:
    wait = due - clock()
    if wait > 0:
        time.sleep(wait / 1e9)
    block = int.from_bytes(os.urandom(4), "big") % blocks
    view = views[block % 64]
    started = clock()
    os.pwrite(disk, view, block * block_bytes)
    took_ns.append(clock() - started)
    due += pause_ns
elapsed = (clock() - begin) / 1e9
took_ns.sort()
count = len(took_ns)
at = lambda share: took_ns[min(count - 1, int(count * share))] / 1e6
print(
    'GUEST {"event":"wrote","turn":%d,"count":%d,"seconds":%.3f,"p50Ms":%.4f,"p99Ms":%.4f,"longestMs":%.3f}'
    % (turn, count, elapsed, at(0.5), at(0.99), took_ns[-1] / 1e6)
)
