using LoraNotebooks.Comparison;
using LoraNotebooks.Foundation;

namespace LoraNotebooks.Interactive;

/// <summary>The images of an X/Y/Z comparison in labelled grids, one under the other along Z.</summary>
public sealed class XyzGridDisplay : RichDisplay
{
    /// <summary>A display of a result, also of one that was stopped halfway.</summary>
    public XyzGridDisplay(XyzResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        Result = result;
    }

    /// <summary>What is shown.</summary>
    public XyzResult Result { get; }

    /// <summary>The title; default <c>comparison</c>.</summary>
    public string Title { get; init; } = "Comparison";

    private XyzGrid Grid => Result.Grid;

    /// <inheritdoc/>
    protected internal override Html Draw()
    {
        var longest = Longest(Grid);
        var failures = Result.Failures.ToDictionary(static failure => (failure.X, failure.Y, failure.Z));
        return Look.Page(Title, Facts(), Grids(Grid, (x, y, z) => Result[x, y, z] is { } image ? ImageTag.Of(image, Describe(Grid, x, y, z), longest)
            : failures.TryGetValue((x, y, z), out var failure) ? Failed(failure, longest)
            : null));
    }

    /// <summary>The longest side of an image as shown: as many CSS pixels as let the columns stand side by side.</summary>
    internal static int Longest(XyzGrid grid) => Math.Clamp(960 / grid.X.Count, 64, 192);

    /// <summary>The labelled grids, one under the other along Z.</summary>
    /// <param name="grid">What is compared.</param>
    /// <param name="cell">The image at (x, y, z); <see langword="null"/> where there is none.</param>
    internal static Html Grids(XyzGrid grid, Func<int, int, int, Html?> cell)
    {
        var parts = new List<Html>();
        for (var z = 0; z < (grid.Z?.Count ?? 1); z++)
        {
            if (grid.Z is not null)
            {
                parts.Add(Html.Element(
                    "div",
                    [("style", $"margin:{(z == 0 ? 0 : 14)}px 0 4px 0;font-weight:600")],
                    Look.Quiet(grid.Z.Name + " "),
                    grid.Z.Labels[z]));
            }

            var at = z;
            parts.Add(ImageGrid.Of(grid.X.Name, grid.X.Labels, grid.Y?.Name, grid.Y?.Labels ?? [""], grid.X.Count, Longest(grid), (x, y) => cell(x, y, at)));
        }

        return Html.Concat(parts);
    }

    /// <summary>In a cell's place: that it failed, and why.</summary>
    internal static Html Failed(XyzFailure failure, int longest) => Html.Element(
        "div", [("style", $"width:{longest}px;overflow-wrap:anywhere;font-size:11px")], Look.Chip("failed", Look.Bad), Html.Element("div", failure.Message));

    /// <summary>What distinguishes a place of the grid, in words.</summary>
    internal static string Describe(XyzGrid grid, int x, int y, int z)
    {
        (XyzAxis? Axis, int At)[] axes = [(grid.X, x), (grid.Y, y), (grid.Z, z)];
        return string.Join(", ", axes.Where(a => a.Axis is not null).Select(a => $"{a.Axis!.Name} {a.Axis.Labels[a.At]}"));
    }

    /// <inheritdoc/>
    public override string ToText() =>
        $"{Title}: {Grid.Statement}"
            + (Result.IsComplete
                ? ""
                : Result.Failures.Count > 0
                    ? $", {Result.Failures.Count} failed: {Result.Failures[0].Message}"
                    : $", stopped after {Result.Cells.Count}");

    /// <summary>The whole comparison as one labelled PNG picture on white.</summary>
    public byte[] ToPng()
    {
        var blocks = Enumerable.Range(0, Grid.Z?.Count ?? 1).Select(z => new MontageBlock(
            Grid.Z is null ? null : $"{Grid.Z.Name}: {Grid.Z.Labels[z]}",
            Grid.X.Labels,
            Grid.Y?.Labels ?? [""],
            (x, y) => Result[x, y, z]));
        return Montage.Paint(Grid.X.Name, Grid.Y?.Name, [.. blocks]);
    }

    /// <summary>Saves <see cref="ToPng"/>.</summary>
    public void SavePng(string path) => AtomicFile.WriteAllBytes(path, ToPng());

    private string Facts()
    {
        var s = Grid.Settings;
        string[] varied = [.. new[] { Grid.X, Grid.Y, Grid.Z }.OfType<XyzAxis>().Select(axis => axis.Name)];
        (string Axis, Func<XyzSettings, object> Value, string Text)[] fixedSettings =
        [
            ("seed", static settings => settings.Seed, $"seed {s.Seed}"),
            ("steps", static settings => settings.Steps, $"{s.Steps} steps"),
            ("guidance", static settings => settings.Guidance, $"guidance {Numbers.Short(s.Guidance)}"),
        ];
        string[] facts =
        [
            Result.IsComplete
                ? $"{Grid.Count} images"
                : $"{Result.Cells.Count} of {Grid.Count} images{(Result.Failures.Count > 0 ? $", {Result.Failures.Count} failed" : "")}"
                    + (Result.Cells.Count + Result.Failures.Count < Grid.Count ? ", stopped" : ""),
            $"“{s.Prompt}”",
            // Axes of any name may change these.
            .. fixedSettings.Where(setting => !varied.Contains(setting.Axis) && Result.Cells.All(cell => setting.Value(cell.Settings).Equals(setting.Value(s))))
                .Select(setting => setting.Text),
        ];
        return string.Join(" · ", facts);
    }
}
