/*
 * plot.c - see plot.h. `rsvg-convert FILE.svg -o FILE.png` (librsvg2-bin) makes a PNG of it.
 * SPDX-License-Identifier: MIT
 */
#include "bench/plot.h"

#include <math.h>
#include <stdio.h>

#define WIDTH 760.0
#define HEIGHT 440.0
#define LEFT 80.0
#define RIGHT 90.0
#define TOP 50.0
#define BOTTOM 60.0
#define TICKS 6

static const char *const names[PLOT_LINES] = { "p50", "p90", "p99", "p99.9" };
static const char *const colours[PLOT_LINES] = { "#1b7837", "#2166ac", "#d95f02", "#b2182b" };

struct frame {
    double rate_max;
    int power_min, power_max; /* of ten, microseconds */
};

static double across(const struct frame *f, double rate)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * rate / f->rate_max;
}

static double up(const struct frame *f, double us)
{
    double share = (log10(us < 1 ? 1 : us) - f->power_min) / (f->power_max - f->power_min);
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
}

/* 1, 2 or 5 times a power of ten. */
static double step_of(double most)
{
    double step = pow(10, floor(log10(most / TICKS)));
    if (step * TICKS * 2 < most) step *= 2.5;
    if (step * TICKS * 1.5 < most) step *= 2;
    return step;
}

static struct frame frame_of(const struct plot_point *points, uint32_t count)
{
    struct frame f = { .rate_max = 1, .power_min = 9, .power_max = 1 };
    for (uint32_t i = 0; i < count; i++) {
        if (points[i].offered > f.rate_max) f.rate_max = points[i].offered;
        for (uint32_t l = 0; l < PLOT_LINES; l++) {
            double us = points[i].us[l] < 1 ? 1 : points[i].us[l];
            if (floor(log10(us)) < f.power_min) f.power_min = (int)floor(log10(us));
            if (ceil(log10(us)) > f.power_max) f.power_max = (int)ceil(log10(us));
        }
    }
    if (f.power_min >= f.power_max) f.power_min = f.power_max - 1;
    f.rate_max *= 1.05;
    return f;
}

static void text_add(struct buf *out, double x, double y, const char *anchor, const char *text)
{
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    for (; *text; text++) {
        if (*text == '<') buf_add_text(out, "&lt;");
        else if (*text == '&') buf_add_text(out, "&amp;");
        else buf_add_byte(out, (uint8_t)*text);
    }
    buf_add_text(out, "</text>\n");
}

static void rule_add(struct buf *out, double x1, double y1, double x2, double y2)
{
    buf_printf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", x1,
               y1, x2, y2);
}

static void scales_add(struct buf *out, const struct frame *f)
{
    char text[40];
    double step = step_of(f->rate_max);
    for (int i = 0; i * step <= f->rate_max; i++) {
        double rate = i * step;
        rule_add(out, across(f, rate), TOP, across(f, rate), HEIGHT - BOTTOM);
        if (step >= 1000) snprintf(text, sizeof(text), "%g k", rate / 1000);
        else snprintf(text, sizeof(text), "%g", rate);
        text_add(out, across(f, rate), HEIGHT - BOTTOM + 18, "middle", text);
    }
    for (int power = f->power_min; power <= f->power_max; power++) {
        double us = pow(10, power);
        rule_add(out, LEFT, up(f, us), WIDTH - RIGHT, up(f, us));
        if (power >= 6) snprintf(text, sizeof(text), "%g s", us / 1e6);
        else if (power >= 3) snprintf(text, sizeof(text), "%g ms", us / 1e3);
        else snprintf(text, sizeof(text), "%g us", us);
        text_add(out, LEFT - 8, up(f, us) + 4, "end", text);
    }
    text_add(out, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "middle",
             "requests offered a second (open loop); rings: not sustained");
}

void plot_write(const struct plot_point *points, uint32_t count, const char *title, struct buf *out)
{
    struct frame f = frame_of(points, count);
    buf_printf(out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
               "font-family=\"sans-serif\" "
               "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
               WIDTH, HEIGHT);
    text_add(out, LEFT, 28, "start", title);
    scales_add(out, &f);
    for (uint32_t l = 0; l < PLOT_LINES && count > 0; l++) {
        buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
                   colours[l]);
        for (uint32_t i = 0; i < count; i++)
            buf_printf(out, "%.1f,%.1f ", across(&f, points[i].offered), up(&f, points[i].us[l]));
        buf_add_text(out, "\"/>\n");
        for (uint32_t i = 0; i < count; i++)
            buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" stroke=\"%s\" fill=\"%s\"/>\n",
                       across(&f, points[i].offered), up(&f, points[i].us[l]), colours[l],
                       points[i].sustained ? colours[l] : "white");
    }
    /* From the top one down, each with room for its text. */
    double place = 0;
    for (uint32_t l = PLOT_LINES; l-- > 0 && count > 0;) {
        double y = up(&f, points[count - 1].us[l]) + 4;
        place = y < place + 14 ? place + 14 : y;
        text_add(out, across(&f, points[count - 1].offered) + 8, place, "start", names[l]);
    }
    buf_add_text(out, "</svg>\n");
}
