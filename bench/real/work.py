"""Ordinary Python work, all of it in small objects: dictionaries, lists of tuples, JSON, classes, strings."""

import json
import random

chance = random.Random(7)


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None


def insert(root, key):
    while True:
        side = "left" if key < root.key else "right"
        child = getattr(root, side)
        if child is None:
            setattr(root, side, Node(key))
            return
        root = child


def objects():
    root = Node(0.5)
    for _ in range(20_000):
        insert(root, chance.random())
    count, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        count += 1
        waiting += [child for child in (node.left, node.right) if child]
    return count


def dictionaries():
    table = {}
    for step in range(150_000):
        table[chance.randrange(30_000)] = ("value", step, float(step))
        if step % 3 == 0:
            table.pop(chance.randrange(30_000), None)
    return len(table), sum(value[1] for value in table.values())


def documents():
    document = {str(number): {"name": "n" * (number % 40), "list": [number / 7] * (number % 30), "flag": number % 2 == 0}
                for number in range(5_000)}
    for _ in range(4):
        document = json.loads(json.dumps(document))
    return len(json.dumps(document))


def strings():
    words = ["".join(chance.choices("abcdefgh", k=chance.randrange(3, 40))) for _ in range(20_000)]
    counts = {}
    for _ in range(3):
        for word in " ".join(words).split():
            counts[word] = counts.get(word, 0) + 1
    return len(counts), len(",".join(sorted(counts)))


for task in (objects, dictionaries, documents, strings):
    print(task.__name__, task())
