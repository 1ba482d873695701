using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using LoraNotebooks.Adapters.Tools;
using LoraNotebooks.Foundation;

namespace LoraNotebooks.Kernel.Commands;

/// <summary>What <c>lora-notebooks lora</c> prints: aligned lines that a script can cut, or JSON.</summary>
internal static class LoraTables
{
    private const int LongestValue = 100;
    private const int MostFindings = 10;

    private static readonly JsonSerializerOptions Layout = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    public static void WriteJson(LoraInspection inspection) => Console.WriteLine(JsonSerializer.Serialize(inspection, Layout));

    public static void Write(LoraInspection inspection, bool allLayers)
    {
        var size = ByteSize.Text(inspection.Bytes);
        var types = string.Join(", ", inspection.DTypes);
        var methods = inspection.Layers
            .GroupBy(static layer => $"{layer.Method}{(layer.IsDora ? " with dora_scale" : "")}")
            .Select(static group => $"{group.Count()} {group.Key}");
        var layers = $"{inspection.Layers.Count} layers ({string.Join(", ", methods)})";
        Line($"{inspection.Path}: {inspection.Kind}, {size}, {inspection.Parameters:N0} numbers ({types}), {layers}");
        Line($"for {inspection.For}{(inspection.Tool is null ? "" : $", made with {inspection.Tool}")}");
        Console.WriteLine();
        if (allLayers)
        {
            Line($"{"layer",-90} {"method",-6} {"rank",5} {"alpha",8} {"norm",10}");
            foreach (var layer in inspection.Layers)
            {
                Line($"{$"{layer.Network}.{layer.Module}",-90} {layer.Method,-6} {layer.Rank,5} {layer.Alpha,8:G4} {layer.Norm,10:G4}");
            }
        }
        else
        {
            Line($"{"block",-40} {"layers",6} {"rank",12} {"alpha",14} {"numbers",12} {"norm",10}");
            foreach (var block in inspection.Blocks)
            {
                var ranks = Range(block.Ranks, static rank => $"{rank}");
                var alphas = Range(block.Alphas, static alpha => alpha.ToString("G4", CultureInfo.InvariantCulture));
                Line($"{$"{block.Network}.{block.Block}",-40} {block.Layers,6} {ranks,12} {alphas,14} {block.Parameters,12:N0} {block.Norm,10:G4}");
            }
        }

        Section("Hashes", inspection.ModelHash is null ? [] :
        [
            $"sshs_model_hash  {inspection.ModelHash}"
                + inspection.HashIsAsNoted switch
                {
                    true => " (as noted in the file)",
                    false => " (the file notes another one: it was changed after it was written)",
                    _ => "",
                },
            $"sshs_legacy_hash {inspection.LegacyHash}",
        ]);
        Section(
            "Metadata",
            inspection.Metadata.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => $"{pair.Key}: {Short(pair.Value)}"));
        Section(
            "Settings",
            inspection.Configs.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => $"{pair.Key}: {Short(pair.Value)}"));
        Findings("Not low-rank", inspection.Others);
        Findings("Not finite", inspection.NotFinite);
        Findings("Not understood", inspection.Unknown);
        Findings("Not supported, left out by readers", inspection.Unsupported);
        Findings("Not told, assumed by readers", inspection.Assumed);
        Findings("Damaged", inspection.Damaged);
    }

    public static void Write(IReadOnlyList<LayerFit> fits)
    {
        Line($"{"layer",-90} {"rank",12} {"norm",10} {"error",9}");
        foreach (var fit in fits)
        {
            Line($"{$"{fit.Network}.{fit.Module}",-90} {$"{fit.OldRank} to {fit.Rank}",12} {fit.Norm,10:G4} {fit.RelativeError,9:P2}");
        }

        // ‖Σ error‖ over ‖Σ ΔW‖, the layers being orthogonal parts of one change.
        var (lost, whole) = (
            Math.Sqrt(fits.Sum(static fit => Math.Pow(fit.Norm * fit.RelativeError, 2))),
            Math.Sqrt(fits.Sum(static fit => fit.Norm * fit.Norm)));
        var ranks = Range([.. fits.Select(static fit => fit.Rank).Distinct().Order()], static rank => $"{rank}");
        var most = fits.Max(static fit => fit.RelativeError);
        Line($"{fits.Count} layers, ranks {ranks}, error {(whole == 0 ? 0 : lost / whole):P2} of the whole, at most {most:P2} of a layer.");
    }

    public static void WriteLeftOut(IReadOnlyList<string> leftOut) => Findings("Differs, but a LoRA cannot hold it", leftOut);

    public static void WriteSizes(string source, string destination) => WriteSizes([source], destination);

    public static void WriteSizes(IReadOnlyList<string> sources, string destination) =>
        Line($"{destination}: {ByteSize.Text(Size(destination))}{(sources.Count == 0
            ? ""
            : $", from {string.Join(" + ", sources.Select(static source => ByteSize.Text(Size(source))))}")}");

    /// <summary>A section of which the first few tell enough; all are in the JSON.</summary>
    private static void Findings(string title, IReadOnlyList<string> lines)
    {
        if (lines.Count > 0)
        {
            Console.WriteLine();
            Console.WriteLine($"{title} ({lines.Count}):");
            lines.Take(MostFindings).ToList().ForEach(static line => Console.WriteLine($"  {line}"));
            if (lines.Count > MostFindings)
            {
                Line($"  and {lines.Count - MostFindings} more");
            }
        }
    }

    private static void Section(string title, IEnumerable<string> lines)
    {
        var all = lines.ToList();
        if (all.Count > 0)
        {
            Console.WriteLine();
            Console.WriteLine($"{title} ({all.Count}):");
            all.ForEach(static line => Console.WriteLine($"  {line}"));
        }
    }

    private static string Range<T>(IReadOnlyList<T> values, Func<T, string> text) => values.Count switch
    {
        0 => "",
        1 => text(values[0]),
        _ => $"{text(values[0])}…{text(values[^1])}",
    };

    private static string Short(string value) => value.Length <= LongestValue ? value : $"{value[..LongestValue]}… ({value.Length} characters)";

    private static long Size(string path) => File.Exists(path)
        ? new FileInfo(path).Length
        : Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Sum(static file => new FileInfo(file).Length);

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static void Line(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));
}
