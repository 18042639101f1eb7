/*
 * draw.c - the dataflow as SVG, laid out by ourselves: boxes in columns, edges from left to right.
 *
 * The method of K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System Structures",
 * IEEE SMC 11(2), 1981, turned by 90 degrees: edges that would close a cycle point backward (sure ones are
 * placed first), columns by longest path, edges over several columns through empty places in those between, order
 * within a column by the mean place of the neighbours, kept where crossings are fewest. Heights by the mean of
 * the neighbours, twice per column, once from above and once from below: their average keeps the distances of both.
 * Everything is a function of the graph alone: the same application draws the same bytes.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "server/graph.h"

#define SWEEPS 16u
#define CROSSINGS_EDGES_MAX 1500u /* of more the crossings are not counted */
#define LINES_MAX 8u              /* of a box */
#define LINE_CHARS_MAX 36u

#define TITLE_CHAR 9.0 /* widths and heights in pixels: of a letter of the title, */
#define LINE_CHAR 6.7  /* of a monospaced one, */
#define LABEL_CHAR 5.9 /* of an edge's label */
#define HEAD_H 34.0
#define LINE_H 16.0
#define PORT_H 20.0
#define GAP_Y 26.0
#define MARGIN 28.0
#define TOP 64.0

/* A box, or a place that an edge passes. */
struct spot {
    uint32_t node; /* UINT32_MAX: passed */
    uint32_t column, place;
    double x, y, w, h; /* y: the middle */
    double sort;
    uint32_t ins, outs, in_used, out_used;
};

/* From one column to the next. */
struct piece {
    uint32_t a, b; /* spots */
    uint32_t edge;
    bool first, last; /* of its edge, from left to right */
    double ya, yb;
};

struct drawing {
    const struct graph *graph;
    struct spot *spots;
    uint32_t spot_count, spot_cap;
    struct piece *pieces;
    uint32_t piece_count, piece_cap;
    bool *backward; /* by edge: drawn from right to left */
    uint32_t columns;
    uint32_t **order; /* by column: spots from above */
    uint32_t *lengths;
    double *column_x, *column_w;
    double width, height;
    bool *placed; /* by node: in a column; one without edges is not */
};

/* ---- columns ---- */

/* True if `to` is reached from `from` over the edges taken so far. */
static bool leads(const struct drawing *d, const bool *taken, uint32_t from, uint32_t to,
                  bool *seen)
{
    const struct graph *g = d->graph;
    if (from == to) return true;
    if (seen[from]) return false;
    seen[from] = true;
    for (uint32_t e = 0; e < g->edge_count; e++) {
        if (!taken[e]) continue;
        uint32_t a = d->backward[e] ? g->edges[e].to : g->edges[e].from;
        uint32_t b = d->backward[e] ? g->edges[e].from : g->edges[e].to;
        if (a == from && leads(d, taken, b, to, seen)) return true;
    }
    return false;
}

/* LIMIT: each edge is looked for over all others, and crossings are counted pair by pair: hundreds of boxes. */
static void cycles_break(struct drawing *d)
{
    const struct graph *g = d->graph;
    bool *taken = mem_alloc(g->edge_count + 1), *seen = mem_alloc(g->node_count + 1);
    for (uint32_t link = 0; link < GRAPH_LINKS; link++) {
        for (uint32_t e = 0; e < g->edge_count; e++) {
            if (g->edges[e].link != (enum graph_link)link) continue;
            memset(seen, 0, g->node_count);
            d->backward[e] = leads(d, taken, g->edges[e].to, g->edges[e].from, seen);
            taken[e] = true;
        }
    }
    mem_free(taken);
    mem_free(seen);
}

static uint32_t edge_left(const struct drawing *d, uint32_t e)
{
    return d->backward[e] ? d->graph->edges[e].to : d->graph->edges[e].from;
}

static uint32_t edge_right(const struct drawing *d, uint32_t e)
{
    return d->backward[e] ? d->graph->edges[e].from : d->graph->edges[e].to;
}

/* Longest path from the left; then those without anything before them move next to what they lead to. */
static void columns_find(struct drawing *d)
{
    const struct graph *g = d->graph;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t e = 0; e < g->edge_count; e++) {
            struct spot *a = &d->spots[edge_left(d, e)], *b = &d->spots[edge_right(d, e)];
            if (b->column > a->column) continue;
            b->column = a->column + 1;
            moved = true;
        }
    }
    for (uint32_t i = 0; i < g->node_count; i++) {
        uint32_t nearest = UINT32_MAX;
        bool before = false;
        for (uint32_t e = 0; e < g->edge_count; e++) {
            before = before || edge_right(d, e) == i;
            if (edge_left(d, e) == i && d->spots[edge_right(d, e)].column < nearest)
                nearest = d->spots[edge_right(d, e)].column;
        }
        if (!before && nearest != UINT32_MAX) d->spots[i].column = nearest - 1;
    }
    for (uint32_t i = 0; i < g->node_count; i++)
        if (d->placed[i] && d->spots[i].column >= d->columns) d->columns = d->spots[i].column + 1;
}

static uint32_t spot_add(struct drawing *d, uint32_t node, uint32_t column)
{
    if (d->spot_count == d->spot_cap) {
        d->spot_cap = d->spot_cap ? d->spot_cap * 2 : 64;
        d->spots = mem_realloc(d->spots, d->spot_cap * sizeof(struct spot));
    }
    d->spots[d->spot_count] = (struct spot){ .node = node, .column = column };
    return d->spot_count++;
}

static void piece_add(struct drawing *d, struct piece piece)
{
    if (d->piece_count == d->piece_cap) {
        d->piece_cap = d->piece_cap ? d->piece_cap * 2 : 64;
        d->pieces = mem_realloc(d->pieces, d->piece_cap * sizeof(struct piece));
    }
    d->spots[piece.a].outs++;
    d->spots[piece.b].ins++;
    d->pieces[d->piece_count++] = piece;
}

static void pieces_make(struct drawing *d)
{
    for (uint32_t e = 0; e < d->graph->edge_count; e++) {
        uint32_t at = edge_left(d, e), end = edge_right(d, e);
        uint32_t last = d->spots[end].column;
        bool first = true;
        for (uint32_t c = d->spots[at].column + 1; c < last; c++) {
            uint32_t next = spot_add(d, UINT32_MAX, c);
            piece_add(d, (struct piece){ .a = at, .b = next, .edge = e, .first = first });
            at = next;
            first = false;
        }
        piece_add(d, (struct piece){ .a = at, .b = end, .edge = e, .first = first, .last = true });
    }
}

/* ---- order within a column ---- */

static void column_sort(struct drawing *d, uint32_t column)
{
    uint32_t *order = d->order[column], n = d->lengths[column];
    for (uint32_t i = 1; i < n; i++) { /* stable: equal ones stay as they were */
        uint32_t spot = order[i], j = i;
        for (; j > 0 && d->spots[order[j - 1]].sort > d->spots[spot].sort; j--)
            order[j] = order[j - 1];
        order[j] = spot;
    }
    for (uint32_t i = 0; i < n; i++) d->spots[order[i]].place = i;
}

static void column_order(struct drawing *d, uint32_t column, bool by_left)
{
    for (uint32_t i = 0; i < d->lengths[column]; i++) {
        uint32_t at = d->order[column][i], n = 0;
        double sum = 0;
        for (uint32_t p = 0; p < d->piece_count; p++) {
            const struct piece *piece = &d->pieces[p];
            if (by_left ? piece->b != at : piece->a != at) continue;
            sum += d->spots[by_left ? piece->a : piece->b].place;
            n++;
        }
        d->spots[at].sort = n ? sum / n : d->spots[at].place;
    }
    column_sort(d, column);
}

static uint64_t crossings(const struct drawing *d)
{
    uint64_t n = 0;
    for (uint32_t p = 0; p < d->piece_count; p++) {
        const struct spot *a = &d->spots[d->pieces[p].a], *b = &d->spots[d->pieces[p].b];
        for (uint32_t q = p + 1; q < d->piece_count; q++) {
            const struct spot *c = &d->spots[d->pieces[q].a], *e = &d->spots[d->pieces[q].b];
            if (a->column != c->column) continue;
            n += (a->place < c->place && b->place > e->place) ||
                 (a->place > c->place && b->place < e->place);
        }
    }
    return n;
}

static void order_find(struct drawing *d)
{
    uint64_t best = UINT64_MAX;
    double *kept = mem_alloc((d->spot_count + 1) * sizeof(double));
    bool counted = d->piece_count <= CROSSINGS_EDGES_MAX;
    for (uint32_t i = 0; i < d->spot_count; i++) {
        struct spot *spot = &d->spots[i];
        if (spot->node != UINT32_MAX && !d->placed[spot->node]) continue;
        spot->place = d->lengths[spot->column];
        d->order[spot->column][d->lengths[spot->column]++] = i;
    }
    for (uint32_t sweep = 0; sweep < SWEEPS && best > 0; sweep++) {
        for (uint32_t c = 0; c < d->columns; c++)
            column_order(d, sweep % 2 ? d->columns - 1 - c : c, sweep % 2 == 0);
        uint64_t n = counted ? crossings(d) : SWEEPS - sweep;
        if (n >= best) continue;
        best = n;
        for (uint32_t i = 0; i < d->spot_count; i++) kept[i] = d->spots[i].place;
    }
    for (uint32_t i = 0; i < d->spot_count; i++) d->spots[i].sort = kept[i];
    for (uint32_t c = 0; c < d->columns; c++) column_sort(d, c);
    mem_free(kept);
}

/* ---- places ---- */

static uint32_t chars(struct weir_str text)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.len; i++) n += (text.ptr[i] & 0xc0) != 0x80;
    return n;
}

static uint32_t lines_shown(const struct graph_node *node)
{
    return node->line_count > LINES_MAX ? LINES_MAX : node->line_count;
}

static void box_size(const struct drawing *d, struct spot *spot)
{
    const struct graph_node *node = &d->graph->nodes[spot->node];
    double w = chars(node->name) * TITLE_CHAR + 40 +
               (double)strlen(graph_kind_word(node->kind)) * LABEL_CHAR;
    uint32_t lines = lines_shown(node);
    for (uint32_t i = 0; i < lines; i++) {
        uint32_t n = chars(node->lines[i]);
        double line = (n > LINE_CHARS_MAX ? LINE_CHARS_MAX : n) * LINE_CHAR + 26;
        if (line > w) w = line;
    }
    uint32_t ports = spot->ins > spot->outs ? spot->ins : spot->outs;
    spot->w = w < 130 ? 130 : w;
    spot->h = HEAD_H + (lines ? lines * LINE_H + 12 : 0);
    if (spot->h < (ports + 1) * PORT_H) spot->h = (ports + 1) * PORT_H;
}

static double mean_of_neighbours(const struct drawing *d, uint32_t at)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t p = 0; p < d->piece_count; p++) {
        const struct piece *piece = &d->pieces[p];
        if (piece->a == at) sum += d->spots[piece->b].y, n++;
        if (piece->b == at) sum += d->spots[piece->a].y, n++;
    }
    return n ? sum / n : d->spots[at].y;
}

static double apart(const struct spot *above, const struct spot *below)
{
    bool box = above->node != UINT32_MAX || below->node != UINT32_MAX;
    return (above->h + below->h) / 2 + (box ? GAP_Y : 4);
}

static void column_settle(struct drawing *d, uint32_t column)
{
    uint32_t *order = d->order[column], n = d->lengths[column];
    double *down = mem_alloc((n + 1) * sizeof(double)), *up = mem_alloc((n + 1) * sizeof(double));
    for (uint32_t i = 0; i < n; i++) down[i] = up[i] = mean_of_neighbours(d, order[i]);
    for (uint32_t i = 1; i < n; i++) {
        double least = down[i - 1] + apart(&d->spots[order[i - 1]], &d->spots[order[i]]);
        if (down[i] < least) down[i] = least;
    }
    for (uint32_t i = n; i-- > 1;) {
        double most = up[i] - apart(&d->spots[order[i - 1]], &d->spots[order[i]]);
        if (up[i - 1] > most) up[i - 1] = most;
    }
    for (uint32_t i = 0; i < n; i++) d->spots[order[i]].y = (down[i] + up[i]) / 2;
    mem_free(down);
    mem_free(up);
}

/* How wide the space behind a column must be for the labels in it. */
static double gap_behind(const struct drawing *d, uint32_t column)
{
    double gap = 70;
    for (uint32_t p = 0; p < d->piece_count; p++) {
        const struct piece *piece = &d->pieces[p];
        const struct buf *label = &d->graph->edges[piece->edge].label;
        bool bears = d->backward[piece->edge] ? piece->last : piece->first;
        if (d->spots[piece->a].column != column || !bears) continue;
        double w = chars(buf_str(label)) * LABEL_CHAR + 56;
        if (w > gap) gap = w;
    }
    return gap > 260 ? 260 : gap;
}

/* Those without edges, in a row below the others. */
static void lonely_place(struct drawing *d)
{
    double x = MARGIN, y = d->height, tallest = 0;
    for (uint32_t i = 0; i < d->graph->node_count; i++) {
        struct spot *spot = &d->spots[i];
        if (d->placed[i]) continue;
        if (x > MARGIN && x + spot->w > (d->width > 900 ? d->width : 900)) {
            x = MARGIN;
            y += tallest + GAP_Y;
            tallest = 0;
        }
        spot->x = x;
        spot->y = y + spot->h / 2;
        x += spot->w + GAP_Y;
        if (spot->h > tallest) tallest = spot->h;
        if (x > d->width) d->width = x;
    }
    if (tallest > 0) d->height = y + tallest + GAP_Y;
}

static void places_find(struct drawing *d)
{
    double top = 1e9, bottom = -1e9;
    for (uint32_t i = 0; i < d->spot_count; i++) {
        if (d->spots[i].node != UINT32_MAX) box_size(d, &d->spots[i]);
        else d->spots[i].h = PORT_H;
    }
    for (uint32_t c = 0; c < d->columns; c++) {
        double y = 0;
        for (uint32_t i = 0; i < d->lengths[c]; i++) {
            struct spot *spot = &d->spots[d->order[c][i]];
            spot->y = y + spot->h / 2;
            y += spot->h + GAP_Y;
            if (spot->w > d->column_w[c]) d->column_w[c] = spot->w;
        }
    }
    for (uint32_t sweep = 0; sweep < SWEEPS; sweep++)
        for (uint32_t c = 0; c < d->columns; c++)
            column_settle(d, sweep % 2 ? d->columns - 1 - c : c);
    d->width = MARGIN;
    for (uint32_t c = 0; c < d->columns; c++) {
        d->column_x[c] = d->width;
        d->width += d->column_w[c] + (c + 1 < d->columns ? gap_behind(d, c) : MARGIN);
    }
    for (uint32_t i = 0; i < d->spot_count; i++) {
        struct spot *spot = &d->spots[i];
        if (spot->node != UINT32_MAX && !d->placed[spot->node]) continue;
        spot->x = d->column_x[spot->column];
        if (spot->node == UINT32_MAX) spot->w = d->column_w[spot->column];
        else spot->x += (d->column_w[spot->column] - spot->w) / 2;
        if (spot->y - spot->h / 2 < top) top = spot->y - spot->h / 2;
        if (spot->y + spot->h / 2 > bottom) bottom = spot->y + spot->h / 2;
    }
    for (uint32_t i = 0; i < d->spot_count; i++) d->spots[i].y += TOP - top;
    d->height = (d->columns ? TOP + bottom - top : TOP) + GAP_Y;
    lonely_place(d);
}

/* Where pieces leave and enter a box: spread over its side, in the order of their other ends. */
static void ports_find(struct drawing *d)
{
    uint32_t *by = mem_alloc((d->piece_count + 1) * sizeof(uint32_t));
    for (int side = 0; side < 2; side++) {
        for (uint32_t p = 0; p < d->piece_count; p++) { /* insertion by the other end's height */
            uint32_t j = p;
            double y = d->spots[side ? d->pieces[p].a : d->pieces[p].b].y;
            for (; j > 0; j--) {
                const struct piece *other = &d->pieces[by[j - 1]];
                if (d->spots[side ? other->a : other->b].y <= y) break;
                by[j] = by[j - 1];
            }
            by[j] = p;
        }
        for (uint32_t i = 0; i < d->piece_count; i++) {
            struct piece *piece = &d->pieces[by[i]];
            struct spot *spot = &d->spots[side ? piece->b : piece->a];
            uint32_t n = side ? spot->ins : spot->outs,
                     k = side ? spot->in_used++ : spot->out_used++;
            double step = spot->h / (n + 1) < 34 ? spot->h / (n + 1) : 34;
            double y = spot->y + ((double)k - (double)(n - 1) / 2) * step;
            *(side ? &piece->yb : &piece->ya) = y;
        }
    }
    mem_free(by);
}

/* ---- writing ---- */

/* Text of at most `most` letters, escaped. */
static void add_text(struct buf *out, struct weir_str text, uint32_t most)
{
    bool cut = chars(text) > most;
    uint32_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c & 0xc0) != 0x80 && n++ == (cut ? most - 1 : most)) break;
        if (c == '&') buf_add_text(out, "&amp;");
        else if (c == '<') buf_add_text(out, "&lt;");
        else if (c == '>') buf_add_text(out, "&gt;");
        else if (c == '"') buf_add_text(out, "&quot;");
        else if (c < 0x20 || c == 0x7f) buf_add_byte(out, ' ');
        else buf_add_byte(out, c);
    }
    if (cut) buf_add_text(out, "…");
}

static const struct {
    const char *edge, *fill, *ink;
} colours[GRAPH_KINDS] = {
    [GRAPH_SCHEDULE] = { "#d6a13a", "#fdf3dc", "#7a5410" },
    [GRAPH_SERVICE] = { "#8a6fd1", "#efeafb", "#4b2f96" },
    [GRAPH_ENTITY] = { "#4a86d4", "#e6f0fc", "#1d4e92" },
    [GRAPH_STREAM] = { "#2f9e7e", "#def5ec", "#11634b" },
    [GRAPH_OUTSIDE] = { "#c8657a", "#fbe7ec", "#8b2b42" },
};
static const char *const link_colours[GRAPH_LINKS] = { "#c08a1e", "#2f9e7e", "#c2566d",
                                                       "#2b7fb8", "#5d6b86", "#a3adbd" };

static void write_box(const struct drawing *d, const struct spot *spot, struct buf *out)
{
    const struct graph_node *node = &d->graph->nodes[spot->node];
    double x = spot->x, y = spot->y - spot->h / 2, w = spot->w, h = spot->h;
    double r = node->kind == GRAPH_STREAM ? 16 : 6;
    const char *edge = colours[node->kind].edge;
    buf_printf(out, "<g class=\"%s\">\n", graph_kind_word(node->kind));
    buf_printf(out,
               "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.0f\" "
               "fill=\"#fff\" stroke=\"%s\" stroke-width=\"1.4\"%s/>\n",
               x, y, w, h, r, edge, node->kind == GRAPH_OUTSIDE ? " stroke-dasharray=\"7 4\"" : "");
    uint32_t lines = lines_shown(node), room = (uint32_t)((w - 26) / LINE_CHAR);
    double head = lines ? HEAD_H : h;
    if (lines)
        buf_printf(out,
                   "<path d=\"M%.1f %.1fv%.1fa%.0f %.0f 0 0 1 %.0f -%.0fh%.1fa%.0f %.0f 0 0 1 %.0f "
                   "%.0fv%.1fz\" fill=\"%s\"/>\n",
                   x + 0.7, y + head, r - head + 0.7, r, r, r, r, w - 2 * r - 1.4, r, r, r, r,
                   head - r - 0.7, colours[node->kind].fill);
    else
        buf_printf(out,
                   "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.0f\" "
                   "fill=\"%s\"/>\n",
                   x + 0.7, y + 0.7, w - 1.4, h - 1.4, r - 0.7, colours[node->kind].fill);
    double text_y = y + (lines ? HEAD_H / 2 : h / 2) + 5;
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"name\" fill=\"%s\">", x + 13, text_y,
               colours[node->kind].ink);
    add_text(out, node->name, 64);
    buf_printf(out,
               "</text>\n<text x=\"%.1f\" y=\"%.1f\" class=\"kind\" text-anchor=\"end\" "
               "fill=\"%s\">%s</text>\n",
               x + w - 12, text_y, edge, graph_kind_word(node->kind));
    for (uint32_t i = 0; i < lines; i++) {
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"line\">", x + 13,
                   y + HEAD_H + 17 + i * LINE_H);
        if (i + 1 == lines && node->line_count > lines)
            buf_printf(out, "and %u more", node->line_count - lines + 1);
        else add_text(out, node->lines[i], room > LINE_CHARS_MAX ? room : LINE_CHARS_MAX);
        buf_add_text(out, "</text>\n");
    }
    buf_add_text(out, "</g>\n");
}

static void write_head(struct buf *out, double x, double y, bool left, const char *colour)
{
    double back = left ? 9 : -9;
    buf_printf(out, "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fz\" fill=\"%s\"/>\n", x, y, x + back,
               y - 4.5, x + back, y + 4.5, colour);
}

static void write_edge(const struct drawing *d, uint32_t e, struct buf *out)
{
    const struct graph_edge *edge = &d->graph->edges[e];
    const char *colour = link_colours[edge->link];
    bool back = d->backward[e], begun = false;
    struct buf heads = { 0 };
    buf_add_text(out, "<path d=\"");
    for (uint32_t p = 0; p < d->piece_count; p++) {
        const struct piece *piece = &d->pieces[p];
        if (piece->edge != e) continue;
        double xa = d->spots[piece->a].x + d->spots[piece->a].w, xb = d->spots[piece->b].x;
        if (piece->first && back) write_head(&heads, xa + 1, piece->ya, true, colour);
        if (piece->last && !back) write_head(&heads, xb - 1, piece->yb, false, colour);
        if (piece->first && back) xa += 8;
        if (piece->last && !back) xb -= 8;
        /* boxes are centred in their column: what passes goes straight by its whole width */
        double bend = (xb - xa) / 2;
        buf_printf(out, "%s%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", begun ? "L" : "M", xa,
                   piece->ya, xa + bend, piece->ya, xb - bend, piece->yb, xb, piece->yb);
        begun = true;
    }
    buf_printf(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s/>\n", colour,
               edge->link == GRAPH_REFERS ? "1.2" : "1.7",
               edge->link == GRAPH_REFERS ? " stroke-dasharray=\"4 4\"" : "");
    buf_add_str(out, buf_str(&heads));
    buf_free(&heads);
}

/* At the end where the edge begins, in the space that was kept for it. */
static void write_label(const struct drawing *d, const struct piece *piece, struct buf *out)
{
    const struct graph_edge *edge = &d->graph->edges[piece->edge];
    bool back = d->backward[piece->edge];
    if (!(back ? piece->last : piece->first) || edge->label.len == 0) return;
    double xa = d->spots[piece->a].x + d->spots[piece->a].w, xb = d->spots[piece->b].x;
    /* near its own port, where edges have not met yet: the curve's height a fifth on */
    double t = back ? 0.8 : 0.2, u = 1 - t;
    double y = piece->ya * (u * u * u + 3 * u * u * t) + piece->yb * (t * t * t + 3 * t * t * u);
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"label\" text-anchor=\"%s\" fill=\"%s\">",
               back ? xb - 12 : xa + 12, y - 5, back ? "end" : "start",
               edge->link == GRAPH_REFERS ? "#7a8698" : link_colours[edge->link]);
    add_text(out, buf_str(&edge->label), 38);
    buf_add_text(out, "</text>\n");
}

static void write_legend(const struct drawing *d, struct buf *out)
{
    double x = MARGIN, y = d->height + 8;
    for (uint32_t link = 0; link < GRAPH_LINKS; link++) {
        bool used = false;
        for (uint32_t e = 0; e < d->graph->edge_count; e++)
            used = used || d->graph->edges[e].link == (enum graph_link)link;
        if (!used) continue;
        const char *word = graph_link_word((enum graph_link)link);
        buf_printf(out,
                   "<path d=\"M%.1f %.1fh26\" fill=\"none\" stroke=\"%s\" "
                   "stroke-width=\"1.7\"%s/>\n",
                   x, y, link_colours[link],
                   link == GRAPH_REFERS ? " stroke-dasharray=\"4 4\"" : "");
        write_head(out, x + 33, y, false, link_colours[link]);
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"kind\" fill=\"#5d6b86\">%s</text>\n",
                   x + 39, y + 3.5, word);
        x += 39 + (double)strlen(word) * LABEL_CHAR + 24;
    }
}

static void write_all(struct drawing *d, struct buf *out)
{
    double title = chars(d->graph->title) * 9.5 + 2 * MARGIN;
    double width = d->width > title ? d->width : title;
    if (d->graph->edge_count > 0 && width < 460) width = 460; /* the legend */
    double height = d->height + (d->graph->edge_count ? 32 : 0);
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\">\n<title>",
               width, height, width, height);
    add_text(out, d->graph->title, 200);
    buf_add_text(out,
                 "</title>\n<style>\n"
                 "text{font-family:\"Helvetica Neue\",Helvetica,Arial,\"DejaVu Sans\",sans-serif}\n"
                 ".title{font-size:17px;font-weight:600}\n"
                 ".name{font-size:14px;font-weight:600}\n"
                 ".kind{font-size:11px}\n"
                 ".line{font-size:11px;font-family:ui-monospace,Menlo,Consolas,\"DejaVu Sans "
                 "Mono\",monospace;fill:#3c4656}\n"
                 ".label{font-size:11px;paint-order:stroke;stroke:#fff;stroke-width:4px;"
                 "stroke-linejoin:round}\n"
                 "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n");
    buf_printf(out, "<text x=\"%.0f\" y=\"36\" class=\"title\" fill=\"#222b3a\">", MARGIN);
    add_text(out, d->graph->title, 200);
    buf_add_text(out, "</text>\n");
    for (uint32_t e = d->graph->edge_count; e-- > 0;) write_edge(d, e, out);
    for (uint32_t i = 0; i < d->graph->node_count; i++) write_box(d, &d->spots[i], out);
    for (uint32_t p = 0; p < d->piece_count; p++) write_label(d, &d->pieces[p], out);
    write_legend(d, out);
    buf_add_text(out, "</svg>\n");
}

void graph_write_svg(const struct graph *graph, struct buf *out)
{
    struct drawing d = { .graph = graph };
    d.backward = mem_alloc(graph->edge_count + 1);
    d.placed = mem_alloc(graph->node_count + 1);
    for (uint32_t i = 0; i < graph->node_count; i++) spot_add(&d, i, 0);
    for (uint32_t e = 0; e < graph->edge_count; e++)
        d.placed[graph->edges[e].from] = d.placed[graph->edges[e].to] = true;
    cycles_break(&d);
    columns_find(&d);
    pieces_make(&d);
    d.order = mem_alloc((d.columns + 1) * sizeof(*d.order));
    d.lengths = mem_alloc((d.columns + 1) * sizeof(*d.lengths));
    d.column_x = mem_alloc((d.columns + 1) * sizeof(double));
    d.column_w = mem_alloc((d.columns + 1) * sizeof(double));
    for (uint32_t c = 0; c < d.columns; c++)
        d.order[c] = mem_alloc((d.spot_count + 1) * sizeof(uint32_t));
    order_find(&d);
    places_find(&d);
    ports_find(&d);
    write_all(&d, out);
    for (uint32_t c = 0; c < d.columns; c++) mem_free(d.order[c]);
    mem_free(d.order);
    mem_free(d.lengths);
    mem_free(d.column_x);
    mem_free(d.column_w);
    mem_free(d.spots);
    mem_free(d.pieces);
    mem_free(d.backward);
    mem_free(d.placed);
}
