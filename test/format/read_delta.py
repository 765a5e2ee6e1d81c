"""Reads and checks delta files and ledgers. Written from docs/format alone; shares no code with the product.

usage: read_delta.py delta FILE | ledger FILE     prints one JSON object; exit code 1 when the file is corrupt
"""
import hashlib, json, struct, sys, zlib

WINDOW, PIECE, TIB = 1 << 20, 1 << 16, 1 << 40


def sha(data):
    return hashlib.sha256(data).digest()


def need(condition, what):
    if not condition:
        raise ValueError(what)


def canonical(value):
    key = lambda member: member[0].encode("utf-16-be")
    if isinstance(value, dict):
        return "{" + ",".join(canonical(k) + ":" + canonical(v) for k, v in sorted(value.items(), key=key)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    need(not isinstance(value, float), "a fraction")
    return json.dumps(value, ensure_ascii=False)


def read_delta(data):
    need(len(data) >= 256, "too short")
    magic, version, length, cipher, codec, r1, h, r2, header_hash, crc = struct.unpack("<8sHHBBHIQ32sI", data[:64])
    need(magic == b"\x89AFTDLT\n" and crc == zlib.crc32(data[:60]), "prologue")
    need((version, length, cipher, r1, r2) == (1, 64, 0, 0, 0) and codec <= 1 and h <= 4 << 20, "prologue")
    t = data[-192:]
    root, header_hash2, placement_hash, at, size, n, h2 = struct.unpack("<32s32s32sQQII", t[:120])
    version, length, crc, magic = struct.unpack("<HHI8s", t[176:])
    need(magic == b"AFTDEND\n" and crc == zlib.crc32(t[:180]) and (version, length) == (1, 192), "trailer")
    need(t[120:176] == bytes(56) and n <= 1 << 22, "trailer")
    need(size == len(data) == at + 64 * n + 192 and at >= 64 + h, "sizes")
    header_bytes = data[64:64 + h]
    need(header_hash == header_hash2 == sha(header_bytes) and h == h2, "header hash")
    header = json.loads(header_bytes)
    need(canonical(header).encode() == header_bytes, "header is not canonical")
    logical, placement = data[at:at + 48 * n], data[at + 48 * n:at + 64 * n]
    need(root == sha(b"afterimage delta content v1\n" + header_hash + sha(logical)), "content root")
    need(placement_hash == sha(placement), "placement hash")
    extents, stored, before = [], [], (0, 0)
    for row in range(n):
        disk, kind, r, sectors, offset, list_hash = struct.unpack_from("<HBBIQ32s", logical, 48 * row)
        position, length, row_codec, r3 = struct.unpack_from("<QIB3s", placement, 16 * row)
        need(r == 0 and r3 == bytes(3) and kind in (1, 2) and sectors > 0, "row")
        start, end = 512 * offset, 512 * (offset + sectors)
        need((disk, start) >= before and disk < len(header["disks"]), "order")
        before = (disk, end)
        sizes = header["disks"][disk]
        need(end <= max(sizes["sizeBytes"], sizes["previousSizeBytes"] or 0), "reach")
        span = WINDOW if kind == 1 else TIB
        need(start // span == (end - 1) // span, "span")
        if kind == 2:
            need(list_hash == bytes(32) and placement[16 * row:16 * row + 16] == bytes(16), "zero row")
            extents.append([disk, start, end - start, "zero", None])
            continue
        cuts = sorted({start, end, *range((start // PIECE + 1) * PIECE, end, PIECE)})
        pieces = list(zip(cuts, cuts[1:]))
        need(row_codec <= codec and 64 + h <= position and position + length <= at, "stored")
        chunk = data[position:position + length]
        piece_list, payload = chunk[:32 * len(pieces)], chunk[32 * len(pieces):]
        need(sha(piece_list) == list_hash, "piece list")
        stored.append((position, length))
        if row_codec == 1:  # Python 3.11 has no zstd: the frame's checksum is all that is checked.
            need(4 < len(payload) < end - start, "stored length")
            need(struct.unpack("<I", payload[-4:])[0] == zlib.crc32(payload[:-4]), "frame")
            extents.append([disk, start, end - start, "zstd", None])
            continue
        need(len(payload) == end - start, "stored length")
        for place, (a, b) in enumerate(pieces):
            need(sha(payload[a - start:b - start]) == piece_list[32 * place:32 * place + 32], "piece")
        extents.append([disk, start, end - start, "raw", hashlib.sha256(payload).hexdigest()])
    for position, length in sorted(stored):
        need(position == 64 + h, "chunks leave a gap")
        h += length
    need(64 + h == at, "chunks do not reach the index")
    return {"contentRoot": root.hex(), "header": header, "extents": extents}


def read_ledger(data):
    records, at, before = [], 0, bytes(32)
    while at < len(data):
        magic, version, kind, b, r, number, ms, previous = struct.unpack_from("<4sHHIIQQ32s", data, at)
        record = data[at:at + 132 + b]
        need(magic == b"AFTL" and version == 1 and r == 0 and len(record) == 132 + b, "record")
        need(struct.unpack("<I", record[-4:])[0] == zlib.crc32(record[:-4]), "checksum")
        need(number == len(records) and previous == before and record[-68:-4] == bytes(64), "chain")
        before = sha(record[:64 + b])
        records.append({"kind": kind, "atMs": ms, "body": json.loads(record[64:64 + b])})
        at += len(record)
    return {"records": records, "head": before.hex()}


try:
    with open(sys.argv[2], "rb") as file:
        print(json.dumps((read_delta if sys.argv[1] == "delta" else read_ledger)(file.read())))
except (ValueError, KeyError, struct.error) as error:
    print(f"corrupt: {error}", file=sys.stderr)
    sys.exit(1)
