# SPDX-License-Identifier: Apache-2.0
"""Bodies made from an OpenAPI document: right ones at random, and each way that one field can be wrong.

Knows what our document uses: type, properties, required, items, enum, minimum, maximum, minLength, maxLength,
minItems, the patterns of addresses, $ref.
"""
import copy
import random
import re


TOO_BIG = 'beyond 64 bits'  # which the JSON reader itself refuses, by line and column


def resolve(doc, schema):
    while '$ref' in schema:
        here = doc
        for word in schema['$ref'].lstrip('#/').split('/'):
            here = here[word]
        schema = here
    return schema


def body(doc, path):
    """The schema of the body of PUT path, {} if it takes none."""
    content = doc['paths'][path].get('put', {}).get('requestBody', {}).get('content', {})
    return resolve(doc, content.get('application/json', {}).get('schema', {}))


def with_body(doc):
    for path in doc['paths']:
        schema = body(doc, path)
        if schema.get('type') == 'object':
            yield path, schema


def kind(schema):
    types = schema.get('type')
    return next((t for t in types if t != 'null'), None) if isinstance(types, list) else types


def wrong_values(schema):
    """(how, value) of another type, out of range, or not in the list."""
    t = kind(schema)
    others = {'string': [1, True, [], {}], 'integer': ['x', 'true', 1.5, True, [], {}], 'number': ['x', [], {}],
              'boolean': ['yes', 2, [], {}], 'array': [1, 'x', {}], 'object': [1, 'x', []]}
    for value in others.get(t, []):
        yield f'type {type(value).__name__}', value
    if t == 'integer':
        if 'minimum' in schema:
            yield 'below its minimum', schema['minimum'] - 1
        if 'maximum' in schema and schema['maximum'] < 1 << 62:
            yield 'above its maximum', schema['maximum'] + 1
        yield TOO_BIG, 1 << 70
    if 'enum' in schema:
        yield 'not in the list', 'none-of-these'
    elif t == 'string' and 'maxLength' in schema:
        yield 'too long', 'x' * (schema['maxLength'] + 1)


def wrong_ones(doc, schema, base, depth=0, where=''):
    """(name of the field, how, body) for each field of the schema wrong in each way, in an else right body."""
    schema = resolve(doc, schema)
    for name, sub in schema.get('properties', {}).items():
        sub, path = resolve(doc, sub), f'{where}.{name}'.lstrip('.')
        for how, value in wrong_values(sub):
            bad = copy.deepcopy(base)
            bad[name] = value
            yield path, how, bad
        inner = resolve(doc, sub.get('items', {})) if kind(sub) == 'array' else sub
        if kind(inner) == 'object' and depth < 3:
            part = base.get(name)
            part = part[0] if isinstance(part, list) and part else part if isinstance(part, dict) else {}
            # What an absent part requires is given, so that only one thing is wrong.
            part = {**{n: smallest(doc, inner['properties'][n]) for n in inner.get('required', [])}, **part}
            for sub_path, how, sub_bad in wrong_ones(doc, inner, part, depth + 1, path):
                bad = copy.deepcopy(base)
                bad[name] = [sub_bad] if kind(sub) == 'array' else sub_bad
                yield sub_path, how, bad
    for name in schema.get('required', []):
        bad = copy.deepcopy(base)
        bad.pop(name, None)
        yield f'{where}.{name}'.lstrip('.'), 'missing', bad


def smallest(doc, schema):
    schema = resolve(doc, schema)
    if 'enum' in schema:
        return schema['enum'][0]
    return {'string': 'x', 'integer': schema.get('minimum', 1), 'boolean': False, 'array': [],
            'object': {}}.get(kind(schema))


class Maker:
    """Random values that the schemas allow; the same ones for the same seed. likely: for the name of a
    property values that mean something there, taken mostly; only: values besides which it gets none."""

    def __init__(self, doc, seed, likely, only):
        self.doc, self.likely, self.only = doc, likely, only
        self.random = random.Random(seed)

    def integer(self, schema):
        low, high = schema.get('minimum', 0), min(schema.get('maximum', 1 << 40), 1 << 40)
        near = [n for n in (low + 1, 2, 8, 256) if low <= n <= high]
        return self.random.choice([low, high, self.random.randint(low, max(low, high)), *near])

    def string(self, schema):
        if 'pattern' in schema:
            return next(w for w in ('52:54:00:01:02:03', '10.0.0.1') if re.search(schema['pattern'], w))
        least, most = schema.get('minLength', 0), min(schema.get('maxLength', 300), 300)
        word = self.random.choice(['x', 'net', 'ä', '\u2028', ' ', '%s', 'x' * self.random.randint(1, 300)])
        return word.ljust(least, 'x').encode()[:most].decode(errors='ignore') or 'x'

    def value(self, schema, name=''):
        schema = resolve(self.doc, schema)
        if name in self.only:
            return self.random.choice(self.only[name])
        if name in self.likely and self.random.random() < 0.8:
            return self.random.choice(self.likely[name])
        if 'enum' in schema:
            return self.random.choice(schema['enum'])
        t = kind(schema)
        if t == 'object':
            required = schema.get('required', [])
            return {n: self.value(s, n) for n, s in schema.get('properties', {}).items()
                    if n in required or self.random.random() < 0.15}
        if t == 'array':
            count = self.random.randint(schema.get('minItems', 0), 3)
            return [self.value(schema.get('items', {})) for _ in range(count)]
        if t == 'integer':
            return self.integer(schema)
        if t == 'boolean':
            return self.random.random() < 0.5
        return self.string(schema)

    def spoil(self, value):
        """The same with one thing in it replaced by something of another kind."""
        if isinstance(value, dict) and value and self.random.random() < 0.8:
            name = self.random.choice(sorted(value))
            return {**value, name: self.spoil(value[name])}
        if isinstance(value, list) and value and self.random.random() < 0.8:
            i = self.random.randrange(len(value))
            return [*value[:i], self.spoil(value[i]), *value[i + 1:]]
        return self.random.choice([None, -1, 1 << 70, 1.5, '', 'x' * 5000, [], {}, [[[]]], {'x': {}}, True,
                                   'a\x00b', '\ud800', {'': 1}])
