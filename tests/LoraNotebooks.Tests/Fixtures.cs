using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using LoraNotebooks.Formats;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests;

/// <summary>
/// The parity cases: models with inputs and outputs computed by the upstream libraries. They are read from tests/Fixtures,
/// or from the folder that the variable LORANOTEBOOKS_FIXTURES names, which has the same layout.
/// </summary>
internal static partial class Fixtures
{
    public static string Root { get; } = Environment.GetEnvironmentVariable("LORANOTEBOOKS_FIXTURES") is { Length: > 0 } folder
        ? folder
        : Path.Combine(TestsFolder(), "Fixtures");

    /// <summary>
    /// The whole models: every folder there with a model_index.json. The repository ships two; SDXL and the single file would not fit
    /// into its size and are run from the folder of the variable, where they must be.
    /// </summary>
    public static IReadOnlyList<string> Models { get; } =
    [
        .. Directory.GetDirectories(Root).Where(folder => File.Exists(Path.Combine(folder, "model_index.json"))).Select(folder => Path.GetFileName(folder)!)
            .Concat(["sd15-tiny", "sd2-tiny", .. (string[])(IsWhole ? ["sdxl-tiny"] : [])]).Distinct().Order(StringComparer.Ordinal),
    ];

    /// <summary>Whether all cases are at hand, so that a missing one is an error.</summary>
    public static bool IsWhole => Environment.GetEnvironmentVariable("LORANOTEBOOKS_FIXTURES") is { Length: > 0 };

    /// <summary>Whether a model is SDXL, by its model_index.json.</summary>
    public static bool IsXL(string name) => Json(name, "model_index.json").GetProperty("_class_name").GetString() == "StableDiffusionXLPipeline";

    /// <summary>A case's folder; a missing one is an error, never a skipped test.</summary>
    public static string Case(params string[] parts)
    {
        var folder = Path.Combine([Root, .. parts]);
        return Directory.Exists(folder)
            ? folder
            : throw new DirectoryNotFoundException($"The parity case {folder} is missing. Fetch it, or set LORANOTEBOOKS_FIXTURES to a folder that has it.");
    }

    /// <summary>The folder of the model that a case is about: named by its base_model, or by the sentence that describes it.</summary>
    public static string BaseModelOf(params string[] parts)
    {
        var json = Json([.. parts, "case.json"]);
        return Path.GetFullPath(Path.Combine(
            Case(parts),
            json.TryGetProperty("base_model", out var path)
                ? path.GetString()!
                : BaseModelInText().Match(json.GetProperty("what").GetString()!).Groups[1].Value));
    }

    public static JsonElement Json(params string[] parts)
    {
        using var document = JsonDocument.Parse(PythonJson.ToStandard(File.ReadAllText(Path.Combine([Root, .. parts]))));
        return document.RootElement.Clone();
    }

    public static Dictionary<string, Tensor> Tensors(params string[] parts) => SafetensorsFile.LoadAll(Path.Combine([Root, .. parts]));

    /// <summary>The largest absolute difference, as a number; shapes must agree.</summary>
    public static double MaxDifference(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        using var scope = NewDisposeScope();
        return expected.numel() == 0 ? 0 : (expected.to(ScalarType.Float64) - actual.detach().to(ScalarType.Float64)).abs().max().item<double>();
    }

    /// <summary>The largest absolute difference in parts of the largest expected value.</summary>
    public static double RelativeDifference(Tensor expected, Tensor actual)
    {
        using var scope = NewDisposeScope();
        return MaxDifference(expected, actual) / Math.Max(expected.to(ScalarType.Float64).abs().max().item<double>(), 1e-30);
    }

    /// <summary>Pairs as the rows of a theory.</summary>
    public static TheoryData<string, string> Rows(IEnumerable<(string First, string Second)> pairs)
    {
        var rows = new TheoryData<string, string>();
        foreach (var (first, second) in pairs)
        {
            rows.Add(first, second);
        }

        return rows;
    }

    private static string TestsFolder([CallerFilePath] string thisFile = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, ".."));

    [GeneratedRegex(@" on (\.\./\S+?)[,;]? ")]
    private static partial Regex BaseModelInText();
}
