using System.Text.RegularExpressions;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Comparison;

/// <summary>
/// A comparison over one, two or three axes: columns X, rows Y, and a stack of grids Z. One image for each combination of values.
/// </summary>
/// <example><code>
/// var grid = new XyzGrid(new XyzSettings { Prompt = "portrait of mika" }, x: XyzAxis.LoraWeight("0-1 (+0.25)"), y: XyzAxis.Seed("1-3"));
/// Console.WriteLine(grid.Statement);
/// var result = grid.Run(pipeline, lora);
/// </code></example>
public sealed class XyzGrid
{
    /// <summary>A grid; nothing is computed yet.</summary>
    /// <param name="settings">What the axes do not vary.</param>
    /// <param name="x">The columns.</param>
    /// <param name="y">The rows; default one.</param>
    /// <param name="z">The stack of grids; default one.</param>
    public XyzGrid(XyzSettings settings, XyzAxis x, XyzAxis? y = null, XyzAxis? z = null)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(x);
        Settings = settings with { Seed = XyzSettings.Drawn([settings.Seed])[0] };
        X = x;
        Y = y;
        Z = z;
    }

    /// <summary>What the axes do not vary; of a random seed the one that was drawn for this grid.</summary>
    public XyzSettings Settings { get; }

    /// <summary>The columns.</summary>
    public XyzAxis X { get; }

    /// <summary>The rows, if there is such an axis.</summary>
    public XyzAxis? Y { get; }

    /// <summary>The stack of grids, if there is such an axis.</summary>
    public XyzAxis? Z { get; }

    /// <summary>The number of cells.</summary>
    public int Count => X.Count * (Y?.Count ?? 1) * (Z?.Count ?? 1);

    /// <summary>What a run will do, to be read before it starts: axis counts, cells, images that are really computed, denoising steps.</summary>
    public string Statement
    {
        get
        {
            var axes = string.Join(" × ", Axes().Select(axis => $"{axis.Count} ({axis.Name})"));
            XyzSettings[] distinct = [.. Positions().Select(p => At(p.X, p.Y, p.Z).Canonical()).Distinct()];
            var reused = Count == distinct.Length ? "" : $", {distinct.Length} of them different";
            return $"{axes} = {Count} {(Count == 1 ? "cell" : "cells")}{reused}, {distinct.Sum(s => (long)s.Steps)} denoising steps";
        }
    }

    /// <summary>Every fault of the settings and the axes, each with what was got and what is expected; empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        var own = Settings.Validate();
        faults.AddRange(own);
        var repeated = Axes().Where(axis => axis.Replacements.Count == 0).GroupBy(axis => axis.Name).Where(g => g.Count() > 1);
        faults.AddRange(repeated.Select(g => $"{g.Count()} axes vary the {g.Key}; the later would undo the earlier. Give each axis a kind of its own."));
        faults.AddRange(Axes().Where(axis => Axes().Any(other => other.Name == axis.AlsoSettles)).Select(axis =>
            $"The axis '{axis}' names {axis.AlsoSettles}s, and another axis varies them; name the {axis.Name}s alone."));
        foreach (var axis in Axes())
        {
            faults.Require(
                axis.Replacements.Count == 0 || Contains(axis.Replacements[0]),
                $"The search text '{axis.Replacements.FirstOrDefault()}' is in neither the prompt '{Settings.Prompt}' "
                    + $"nor the negative prompt '{Settings.NegativePrompt}'; "
                    + "the first text of a search-and-replace axis must be there, in the same case.");

            for (var i = 0; i < axis.Count; i++)
            {
                // Only what this value breaks; the settings' own faults are listed already.
                faults.AddRange(axis.Apply(Settings, i).Validate().Except(own).Select(fault => $"Axis {axis.Name}, value {i + 1}: {fault}"));
            }
        }

        var searched = Axes().Where(axis => axis.Replacements.Count > 0).GroupBy(axis => axis.Replacements[0]).Where(g => g.Count() > 1);
        faults.AddRange(searched.Select(g => $"{g.Count()} axes search the same text '{g.Key}'; give each its own."));
        return faults;
    }

    /// <summary>Throws if <see cref="Validate"/> finds faults.</summary>
    /// <exception cref="ArgumentException">Lists them all.</exception>
    public void ThrowIfInvalid() => ThrowIfAny(Validate());

    /// <summary>The settings of a cell.</summary>
    public XyzSettings At(int x, int y = 0, int z = 0)
    {
        var settings = X.Apply(Settings, x);
        settings = Y?.Apply(settings, y) ?? settings;
        settings = Z?.Apply(settings, z) ?? settings;

        (string Search, string Replacement)[] pairs =
        [
            .. new[] { (Axis: X, Position: x), (Axis: Y, Position: y), (Axis: Z, Position: z) }
                .Where(p => p.Axis is { Replacements.Count: > 0 })
                .Select(p => (p.Axis!.Replacements[0], p.Axis.Replacements[p.Position])),
        ];
        return pairs.Length == 0
            ? settings
            : settings with { Prompt = Replace(settings.Prompt, pairs), NegativePrompt = Replace(settings.NegativePrompt, pairs) };
    }

    /// <summary>
    /// Paints the cells with a pipeline, which is left as it was; see <see cref="Run(IXyzRenderer, IProgress{XyzProgress}?, CancellationToken)"/>.
    /// </summary>
    /// <param name="pipeline">The base model.</param>
    /// <param name="lora">The LoRA whose weight a weight axis varies; none where a checkpoint axis names files.</param>
    /// <param name="progress">Hears of each finished cell.</param>
    /// <param name="cancellationToken">Stops; what is finished is returned.</param>
    public XyzResult Run(
        StableDiffusionPipeline pipeline,
        StableDiffusionLora? lora = null,
        IProgress<XyzProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        using var renderer = new StableDiffusionRenderer(pipeline, lora);
        return Run(renderer, progress, cancellationToken);
    }

    /// <summary>Paints the cells, axes that are costly to change outermost, cells with the same settings once.</summary>
    /// <param name="renderer">Paints.</param>
    /// <param name="progress">Hears of each finished cell.</param>
    /// <param name="cancellationToken">Stops; what is finished is returned.</param>
    /// <returns>The finished cells, after a cancellation fewer than <see cref="Count"/>, and those that could not be painted with the reason.</returns>
    /// <exception cref="ArgumentException">The settings, an axis, or something that the renderer needs have faults.</exception>
    /// <exception cref="InvalidOperationException">No cell could be painted.</exception>
    public XyzResult Run(IXyzRenderer renderer, IProgress<XyzProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(renderer);
        ThrowIfInvalid();
        List<XyzSettings> all = [.. Positions().Select(p => At(p.X, p.Y, p.Z)).Distinct()];
        ThrowIfAny([.. all.SelectMany(renderer.Validate).Distinct()]);
        foreach (var warning in renderer.Warnings(all))
        {
            Notice.Tell($"The grid: {warning}");
        }

        var images = new Dictionary<XyzSettings, RgbImage>();
        var cells = new List<XyzCell>(Count);
        var failures = new List<XyzFailure>();
        var listener = new Listener(progress);
        Exception? first = null;
        foreach (var (x, y, z) in Positions())
        {
            if (cancellationToken.IsCancellationRequested)
            {
                break;
            }

            var settings = At(x, y, z);
            XyzCell cell;
            try
            {
                var key = settings.Canonical();
                var isReused = images.TryGetValue(key, out var image);
                if (!isReused)
                {
                    images[key] = image = renderer.Render(settings, cancellationToken);
                }

                cell = new XyzCell(x, y, z, renderer.Resolve(settings), image!, isReused) { Facts = renderer.Facts(settings) };
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception fault)
            {
                // One cell that cannot be painted takes nothing away from the others.
                first ??= fault;
                failures.Add(new(x, y, z, settings, fault.Message));
                listener.Report(new(cells.Count + failures.Count, Count, null) { Failure = failures[^1] });
                continue;
            }

            cells.Add(cell);
            listener.Report(new(cells.Count + failures.Count, Count, cell));
        }

        return cells.Count > 0 || first is null
            ? new XyzResult(this, cells) { Failures = failures }
            : throw new InvalidOperationException($"None of {Listing.Count(failures.Count, "cell")} could be painted. The first: {first.Message}", first);
    }

    /// <summary>Passes reports on until the listener fails: what is painted is not lost by who watches.</summary>
    private sealed class Listener(IProgress<XyzProgress>? progress)
    {
        private bool _isGone;

        public void Report(XyzProgress value)
        {
            try
            {
                if (!_isGone)
                {
                    progress?.Report(value);
                }
            }
            catch (Exception fault)
            {
                _isGone = true;
                Notice.Tell($"The grid goes on without telling its progress, as the listener failed: {fault.Message}");
            }
        }
    }

    // The positions in the order of painting: the loop over the costliest axis is the outermost.
    private IEnumerable<(int X, int Y, int Z)> Positions()
    {
        IEnumerable<(int X, int Y, int Z)> positions = [(0, 0, 0)];
        var loops = new[] { (Axis: X, Place: 0), (Axis: Y, Place: 1), (Axis: Z, Place: 2) };
        foreach (var (axis, place) in loops.OrderByDescending(loop => loop.Axis?.Cost).ThenByDescending(loop => loop.Place))
        {
            positions = axis is null ? positions : positions.SelectMany(at => Enumerable.Range(0, axis.Count).Select(i => place switch
            {
                0 => at with { X = i },
                1 => at with { Y = i },
                _ => at with { Z = i },
            }));
        }

        return positions;
    }

    // Each value of each axis may have some.
    private static void ThrowIfAny(IReadOnlyList<string> faults) => Faults.ThrowIfAny(faults, "The grid", Listing.Most);

    private IEnumerable<XyzAxis> Axes() => new[] { X, Y, Z }.OfType<XyzAxis>();

    private bool Contains(string text) =>
        (Settings.Prompt ?? "").Contains(text, StringComparison.Ordinal) || Settings.NegativePrompt.Contains(text, StringComparison.Ordinal);

    // One pass over the text for all pairs, longer searches first: what was put in is not searched again.
    private static string Replace(string text, (string Search, string Replacement)[] pairs)
    {
        var pattern = string.Join('|', pairs.OrderByDescending(p => p.Search.Length).Select(p => Regex.Escape(p.Search)));
        return Regex.Replace(text, pattern, match => pairs.First(p => p.Search == match.Value).Replacement, RegexOptions.CultureInvariant);
    }
}
