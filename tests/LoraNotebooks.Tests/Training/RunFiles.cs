using System.Text.Json.Nodes;
using LoraNotebooks.Formats;
using LoraNotebooks.Training;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

/// <summary>What the files of a run say.</summary>
internal static class RunFiles
{
    public static JsonNode Record(TrainingResult result) => JsonNode.Parse(File.ReadAllText(result.RecordFile))!;

    public static int[] Steps(JsonNode record) => [.. record["steps"]!.AsArray().Select(static step => step!["step"]!.GetValue<int>())];

    public static Dictionary<string, string> Metadata(string path)
    {
        using var file = SafetensorsFile.Open(path);
        return file.Metadata.ToDictionary();
    }

    /// <summary>All numbers of a file, or of those tensors of it whose names begin so, in the order of their names.</summary>
    public static double[] Numbers(string path, string start = "")
    {
        using var scope = NewDisposeScope();
        return [.. SafetensorsFile.LoadAll(path).Where(pair => pair.Key.StartsWith(start, StringComparison.Ordinal))
            .OrderBy(static pair => pair.Key, StringComparer.Ordinal).SelectMany(static pair => pair.Value.to(float64).data<double>().ToArray())];
    }

    /// <summary>Rewrites a file with another value of its metadata, or without it.</summary>
    public static void Change(string path, string key, string? value)
    {
        using var scope = NewDisposeScope();
        var metadata = Metadata(path);
        metadata.Remove(key);
        if (value is not null)
        {
            metadata[key] = value;
        }

        SafetensorsFile.Write(path, SafetensorsFile.LoadAll(path), metadata);
    }
}
