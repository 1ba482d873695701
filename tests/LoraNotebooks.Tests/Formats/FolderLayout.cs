using System.Globalization;
using System.Text.Json;
using LoraNotebooks.Formats;

namespace LoraNotebooks.Tests.Formats;

/// <summary>
/// Compares the form of two folders: which files there are; in safetensors files keys, shapes, types and metadata keys; in JSON files keys, values
/// and kinds of numbers (1 and 1.0 differ); other files byte by byte.
/// </summary>
internal static class FolderLayout
{
    /// <summary>Every difference, "file: key: what".</summary>
    /// <param name="expected">A folder or a file.</param>
    /// <param name="actual">What should be like it.</param>
    /// <param name="belongs">Which files of the expected folder count, by relative path; default all.</param>
    /// <param name="rename">Gives upstream's keys of tensors the names that are expected here; default as they are.</param>
    public static IReadOnlyList<string> Differences(string expected, string actual, Func<string, bool>? belongs = null, Func<string, string>? rename = null)
    {
        if (File.Exists(expected))
        {
            return [.. OfFiles(Path.GetFileName(expected), expected, actual, rename)];
        }

        var (files, written) = (Files(expected).Where(belongs ?? (static _ => true)).ToList(), Files(actual));
        return
        [
            .. files.Except(written).Select(static file => $"{file}: missing"),
            .. written.Except(files).Select(static file => $"{file}: not of upstream"),
            .. files.Intersect(written).SelectMany(file => OfFiles(file, Path.Combine(expected, file), Path.Combine(actual, file), rename)),
        ];
    }

    private static List<string> Files(string folder) => [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(folder, file).Replace('\\', '/')).Order(StringComparer.Ordinal)];

    private static IEnumerable<string> OfFiles(string name, string expected, string actual, Func<string, string>? rename) => Path.GetExtension(name) switch
    {
        ".safetensors" => OfTensors(expected, actual, rename ?? (static key => key)).Select(difference => $"{name}: {difference}"),
        ".json" => OfJson("", Json(expected), Json(actual)).Select(difference => $"{name}: {difference}"),
        _ => File.ReadAllBytes(expected).AsSpan().SequenceEqual(File.ReadAllBytes(actual)) ? [] : [$"{name}: other content"],
    };

    private static List<string> OfTensors(string expected, string actual, Func<string, string> rename)
    {
        using var before = SafetensorsFile.Open(expected);
        using var after = SafetensorsFile.Open(actual);
        var tensors = before.Tensors.ToDictionary(pair => rename(pair.Key), static pair => Text(pair.Value), StringComparer.Ordinal);
        return
        [
            .. tensors.Keys.Except(after.Tensors.Keys).Select(static key => $"{key}: missing"),
            .. after.Tensors.Keys.Except(tensors.Keys).Select(static key => $"{key}: not of upstream"),
            .. tensors
                .Where(pair => after.Tensors.TryGetValue(pair.Key, out var other) && Text(other) != pair.Value)
                .Select(pair => $"{pair.Key}: {Text(after.Tensors[pair.Key])}, expected {pair.Value}"),
            .. before.Metadata.Keys.Except(after.Metadata.Keys).Select(static key => $"metadata {key}: missing"),
            .. after.Metadata.Keys.Except(before.Metadata.Keys).Select(static key => $"metadata {key}: not of upstream"),
            .. before.Metadata.Where(static pair => pair.Value.StartsWith('{')).Where(pair => after.Metadata.ContainsKey(pair.Key))
                .SelectMany(pair => OfJson($"metadata {pair.Key}", Parse(pair.Value), Parse(after.Metadata[pair.Key]))),
        ];

        static string Text(SafetensorInfo info) => $"{info.DType} [{string.Join(", ", info.Shape)}]";
    }

    private static IEnumerable<string> OfJson(string key, JsonElement expected, JsonElement actual)
    {
        if (expected.ValueKind == JsonValueKind.Object && actual.ValueKind == JsonValueKind.Object)
        {
            var (before, after) = (
                expected.EnumerateObject().ToDictionary(static p => p.Name, static p => p.Value),
                actual.EnumerateObject().ToDictionary(static p => p.Name, static p => p.Value));
            var prefix = key.Length == 0 ? "" : key + " / ";
            return before.Keys.Except(after.Keys).Select(name => $"{prefix}{name}: missing, expected {before[name].GetRawText()}")
                .Concat(after.Keys.Except(before.Keys).Select(name => $"{prefix}{name}: not of upstream"))
                .Concat(before.Keys.Intersect(after.Keys).SelectMany(name => OfJson(prefix + name, before[name], after[name])));
        }

        return Same(expected, actual) ? [] : [$"{key}: {actual.GetRawText()}, expected {expected.GetRawText()}"];
    }

    private static bool Same(JsonElement expected, JsonElement actual) => expected.ValueKind == actual.ValueKind && expected.ValueKind switch
    {
        JsonValueKind.Array => expected.GetArrayLength() == actual.GetArrayLength()
            && expected.EnumerateArray().Zip(actual.EnumerateArray()).All(static pair => Same(pair.First, pair.Second)),
        JsonValueKind.Object => !OfJson("", expected, actual).Any(),
        JsonValueKind.Number => IsFloat(expected) == IsFloat(actual) && Number(expected) == Number(actual),
        _ => JsonElement.DeepEquals(expected, actual),
    };

    private static bool IsFloat(JsonElement number) => number.GetRawText().AsSpan().IndexOfAny(".eE") >= 0;

    private static double Number(JsonElement number) => double.Parse(number.GetRawText(), CultureInfo.InvariantCulture);

    private static JsonElement Json(string path) => Parse(File.ReadAllText(path));

    private static JsonElement Parse(string text)
    {
        using var document = JsonDocument.Parse(PythonJson.ToStandard(text));
        return document.RootElement.Clone();
    }
}
