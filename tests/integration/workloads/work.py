"""Ordinary Python work: dictionaries, lists, strings, JSON, regular expressions, threads. Prints only what must not change."""

import collections
import hashlib
import json
import random
import re
import threading
import zlib

chance = random.Random(7)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dictionaries():
    table = {}
    for step in range(200_000):
        table[chance.randrange(50_000)] = 'value' * chance.randrange(1, 20)
        if step % 3 == 0:
            table.pop(chance.randrange(50_000), None)
    groups = collections.defaultdict(list)
    for key, value in table.items():
        groups[len(value)].append(key)
    return len(table), sum(map(len, table.values())), sorted((size, len(keys)) for size, keys in groups.items())[:5]


def lists():
    rows = [[chance.random() for _ in range(chance.randrange(1, 60))] for _ in range(5_000)]
    rows.sort(key=sum)
    flat = [number for row in rows for number in row]
    flat.extend(flat[::-1])
    del flat[::3]
    return len(flat), f'{sum(flat):.6f}'


def strings():
    text = ''
    for _ in range(20_000):
        text += chance.choice(('lorem ', 'ipsum ', 'dolor ', 'sit\n', 'äöü ', '漢字 '))
    words = text.split()
    return len(text), collections.Counter(words).most_common(3), digest(' '.join(reversed(words)).upper())


def documents():
    document = {str(number): {'name': 'n' * (number % 40), 'list': list(range(number % 30)), 'flag': number % 2 == 0}
                for number in range(4_000)}
    for _ in range(5):
        document = json.loads(json.dumps(document, indent=1, sort_keys=True))
    return digest(json.dumps(document))


def expressions():
    text = ' '.join(f'{chance.randrange(1000)}-{chance.choice("abcdef") * chance.randrange(1, 9)}' for _ in range(30_000))
    found = re.findall(r'(\d+)-((?:ab?|c+|[def]{2,})+)', text)
    replaced = re.sub(r'(\d)(\d)', lambda match: match[2] + match[1], text)
    return len(found), digest(replaced)


def large_buffers():
    data = bytearray()
    for _ in range(64):
        data += chance.randbytes(chance.randrange(1, 300_000))
    packed = zlib.compress(bytes(data), 1)
    return len(data), zlib.decompress(packed) == data


def threads():
    results = [None] * 8

    def work(place):
        own = random.Random(place)
        kept = []
        for _ in range(20_000):
            kept.append(bytes(own.randrange(2_000)))
            if len(kept) > 100:
                kept.pop(own.randrange(100))
        results[place] = sum(map(len, kept))

    running = [threading.Thread(target=work, args=(place,)) for place in range(len(results))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return results


for task in (dictionaries, lists, strings, documents, expressions, large_buffers, threads):
    print(task.__name__, task())
