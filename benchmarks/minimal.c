/* The design of market_env/engine/book.py and nothing more, as fast as we can write it: what the book is measured against.
 *
 * A ring of price levels, a pool of orders, a doubly linked queue for each level; no owners, no fills, no accounts, no log.
 * Prices of asks are kept negated as keys, so that the best of either side is its largest.
 * With -DOWNERS it keeps what the engine's book keeps besides: ids of 64 bits, each owner's orders, oldest first, and its own best
 * prices, STALE once the order that made one is gone; nobody trades with itself; and what a match did is written down. */
#include <stdint.h>
#include <stdlib.h>

#define LEVELS 1024
#define NONE (-1)
#define NO_KEY INT32_MIN

#ifdef OWNERS
typedef struct { int64_t id; int32_t price, lots, next, prev, side, agent; } Order; /* 32 bytes */
typedef struct { double time; int32_t next, prev, price, side; } Owned;
#define STALE (-1)
typedef struct { int32_t oldest, newest, open, best_bid, best_ask; } Owner;
typedef struct { int64_t id; int32_t price, lots, maker, kind; } Fill;
static Owned *owned;
static Owner owners[2];
static Fill fills[4096];
static int32_t fill_count;
#else
typedef struct { int32_t id, price, lots, next, prev, side; } Order; /* 24 bytes */
#endif
typedef struct { int32_t head, tail; int64_t lots; } Level;

static Order *orders;
static int32_t *free_slots;
static int free_count;
static Level levels[LEVELS];
static int32_t best[2], occupied[2];

static inline int32_t key_of(int side, int32_t price) { return side ? -price : price; }
static inline Level *level_at(int side, int32_t key) { return &levels[((key ^ -side) + side) & (LEVELS - 1)]; }

static inline int32_t next_key(int side, int32_t key) {
    if (!--occupied[side]) return NO_KEY;
    do key--; while (level_at(side, key)->head == NONE);
    return key;
}

#ifdef OWNERS
static inline void own(int agent, int32_t slot, int side, int32_t price) {
    Owner *owner = &owners[agent];
    int32_t newest = owner->newest;
    owned[slot] = (Owned){0.0, NONE, newest, price, side};
    *(newest < 0 ? &owner->oldest : &owned[newest].next) = slot;
    owner->newest = slot;
    owner->open++;
    int32_t bid = owner->best_bid, ask = owner->best_ask; /* no branch that depends on chance, here and in disown */
    owner->best_bid = !side & (bid != STALE) & (price > bid) ? price : bid;
    owner->best_ask = side & (ask != STALE) & ((price < ask) | (ask == 0)) ? price : ask;
}

static inline void disown(int32_t slot) {
    Owner *owner = &owners[orders[slot].agent];
    int32_t next = owned[slot].next, prev = owned[slot].prev;
    *(prev < 0 ? &owner->oldest : &owned[prev].next) = next;
    *(next < 0 ? &owner->newest : &owned[next].prev) = prev;
    int32_t left = --owner->open, price = orders[slot].price, side = orders[slot].side;
    int32_t bid = owner->best_bid, ask = owner->best_ask;
    bid = !side & (bid == price) ? STALE : bid;
    ask = side & (ask == price) ? STALE : ask;
    owner->best_bid = left ? bid : 0;
    owner->best_ask = left ? ask : 0;
}
#endif

static inline void clear(int capacity) {
#ifdef OWNERS
    owners[0] = owners[1] = (Owner){NONE, NONE, 0, 0, 0};
#endif
    for (int slot = 0; slot < capacity; slot++) { orders[slot].id = NONE; free_slots[slot] = capacity - 1 - slot; }
    for (int i = 0; i < LEVELS; i++) levels[i] = (Level){NONE, NONE, 0};
    free_count = capacity;
    best[0] = best[1] = NO_KEY;
    occupied[0] = occupied[1] = 0;
}

static inline void cancel(int32_t slot) {
    Order *order = &orders[slot];
    Level *level = &levels[order->price & (LEVELS - 1)];
    int32_t next = order->next, prev = order->prev;
#ifdef OWNERS
    disown(slot);
#endif
    level->lots -= order->lots;
    *(prev < 0 ? &level->head : &orders[prev].next) = next;
    *(next < 0 ? &level->tail : &orders[next].prev) = prev;
    order->id = NONE;
    free_slots[free_count++] = slot;
    if (next < 0 && prev < 0) {
        int side = order->side;
        int32_t key = key_of(side, order->price);
        if (key == best[side]) best[side] = next_key(side, key); else occupied[side]--;
    }
}

static inline int32_t match(int side, int32_t limit, int32_t lots, int agent, int64_t *trades, int64_t *total) {
    int32_t key = best[side];
    do {
        Level *level = level_at(side, key);
        int32_t slot = level->head, before = lots;
        do {
            Order *order = &orders[slot];
            int32_t resting = order->lots;
            ++*trades;
#ifdef OWNERS
            int itself = order->agent == agent;
            fills[fill_count++] = (Fill){order->id, order->price, !itself && resting > lots ? lots : resting, order->agent, itself};
            if (itself) { level->lots -= resting; --*trades; resting = 0; }
#endif
            if (resting > lots) { order->lots = resting - lots; lots = 0; break; }
            lots -= resting;
#ifdef OWNERS
            disown(slot);
#endif
            order->id = NONE;
            free_slots[free_count++] = slot;
            slot = order->next;
        } while (slot >= 0 && lots);
        level->lots -= before - lots;
        *total += before - lots;
        level->head = slot;
        if (slot < 0) { level->tail = NONE; key = next_key(side, key); } else orders[slot].prev = NONE;
    } while (lots && key >= limit);
    best[side] = key;
    return lots;
}

static inline int32_t rest(int side, int32_t price, int32_t lots, int32_t id, int agent) {
    int32_t slot = free_slots[--free_count], key = key_of(side, price);
    Level *level = &levels[price & (LEVELS - 1)];
    int32_t tail = level->tail;
    Order *order = &orders[slot];
    order->id = id, order->price = price, order->lots = lots, order->next = NONE, order->prev = tail, order->side = side;
    *(tail < 0 ? &level->head : &orders[tail].next) = slot;
#ifdef OWNERS
    order->agent = agent;
    own(agent, slot, side, price);
#endif
    level->tail = slot;
    level->lots += lots;
    occupied[side] += tail < 0;
    best[side] = key > best[side] ? key : best[side];
    return slot;
}

void run(int count, const int32_t *restrict kinds, const int32_t *restrict ids, const int32_t *restrict sides,
         const int32_t *restrict prices, const int32_t *restrict lots, int32_t *restrict slots, int capacity, int64_t *out) {
#ifdef OWNERS
    if (!owned) owned = malloc(capacity * sizeof *owned);
#endif
    if (!orders) { orders = malloc(capacity * sizeof *orders); free_slots = malloc(capacity * sizeof *free_slots); }
    clear(capacity);
    int64_t trades = 0, total = 0;
    int32_t next_id = 0;
    for (int i = 0; i < count; i++) {
        int32_t id = ids[i];
        if (kinds[i] == 1) {
            if (slots[id] >= 0 && orders[slots[id]].id == id - 1) cancel(slots[id]);
            continue;
        }
#ifdef OWNERS
        fill_count = 0;
#endif
        int side = sides[i], other = 1 - side;
        int32_t left = lots[i], order_id = next_id++, limit = key_of(other, prices[i]);
        if (best[other] >= limit) left = match(other, limit, left, kinds[i] != 0, &trades, &total);
        slots[id] = left ? rest(side, prices[i], left, order_id, kinds[i] != 0) : NONE;
    }
    out[0] = trades;
    out[1] = total;
}
