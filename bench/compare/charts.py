"""SVG charts: what each allocator needs relative to the best, per workload and in the mean."""

import matplotlib

matplotlib.use("svg")
# Text stays text: the files are small and can be searched.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "nebula", "font.size": 9, "font.family": "sans-serif",
                            "axes.spines.top": False, "axes.spines.right": False})

import matplotlib.pyplot as plt  # noqa: E402

import tables  # noqa: E402

COLOURS = {"nebula": "#c1121f", "glibc": "#6c757d", "jemalloc": "#2a6f97", "mimalloc": "#e09f3e", "tcmalloc": "#588157",
           "tbbmalloc": "#7b5ea7"}
MORE_COLOURS = ["#17becf", "#8c564b", "#e377c2", "#000000"]
CUT = 3.0  # a bar longer than this is cut and says its length
GROUPS_IN_A_COLUMN = 20
INCHES_FOR_EACH_BAR = 0.09


def colours(names):
    more = iter(MORE_COLOURS * len(names))
    return {name: COLOURS.get(name) or next(more) for name in names}


def bars(results, measure, title, path):
    """Horizontal bars, one group a workload, the best with a length of 1; the shorter the better."""
    names = list(results["allocators"])
    relatives = [(case, relative) for case, row in tables.medians(results, measure).items()
                 if (relative := tables.relative_to_best(row))]
    columns = -(-len(relatives) // GROUPS_IN_A_COLUMN)
    in_a_column = -(-len(relatives) // columns)
    height = INCHES_FOR_EACH_BAR * (len(names) + 1.5) * in_a_column + 1
    figure, all_axes = plt.subplots(ncols=columns, figsize=(max(6.5, 4.8 * columns), height), squeeze=False)
    colour = colours(names)
    for number, axes in enumerate(all_axes[0]):
        group_bars(axes, relatives[number * in_a_column:(number + 1) * in_a_column], in_a_column, names, colour)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour[name]) for name in names]
    figure.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=len(names), frameon=False)
    figure.supxlabel(f"{title} relative to the best allocator (1 is best; bars are cut at {CUT:g})", fontsize=9)
    figure.tight_layout()
    save(figure, path)


def group_bars(axes, relatives, groups, names, colour):
    step = len(names) + 1.5
    for group, (_, relative) in enumerate(relatives):
        for place, name in enumerate(names):
            if name not in relative:
                continue
            y = group * step + place
            axes.barh(y, min(relative[name], CUT), height=1, color=colour[name])
            if relative[name] > CUT:
                axes.text(CUT * 1.01, y, f"{relative[name]:.1f}", va="center", fontsize=6, color=colour[name])
    axes.set_yticks([group * step + (len(names) - 1) / 2 for group in range(len(relatives))],
                    [case for case, _ in relatives])
    # All columns have the same scale, the last one with room left.
    axes.set_ylim(groups * step - 0.5, -1)
    axes.set_xlim(0, CUT * 1.08)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)


def scatter(results, path):
    """Geometric means of time and memory: the best is at the lower left."""
    names = list(results["allocators"])
    time, memory = (tables.means_of_relatives(tables.medians(results, measure)) for measure in ("time", "peak_rss"))
    colour = colours(names)
    figure, axes = plt.subplots(figsize=(6.5, 5))
    shown = [name for name in names if name in time and name in memory]
    for name in shown:
        axes.scatter(time[name], memory[name], s=70, color=colour[name], zorder=3)
        axes.annotate(name, (time[name], memory[name]), xytext=(7, 5), textcoords="offset points", color=colour[name])
    axes.set_xlim(1, 1 + 1.2 * (max(time[name] for name in shown) - 1) + 0.02)
    axes.set_ylim(1, 1 + 1.1 * (max(memory[name] for name in shown) - 1) + 0.02)
    axes.set_xlabel("time relative to the best of each workload (geometric mean)")
    axes.set_ylabel("peak RSS relative to the best of each workload\n(geometric mean)")
    axes.grid(alpha=0.3)
    save(figure, path)


def save(figure, path):
    # Without a date in it, the same results make the same file.
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def draw(results, folder):
    """The files written: none where no workload was passed."""
    if not tables.medians(results, "time"):
        return []
    paths = [folder / name for name in ("time.svg", "memory.svg", "time-memory.svg")]
    bars(results, "time", "time", paths[0])
    bars(results, "peak_rss", "peak RSS", paths[1])
    scatter(results, paths[2])
    return paths
