using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Data;

/// <summary>Puts changed captions back where they came from.</summary>
internal static class CaptionWriter
{
    private static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes the captions that differ from the files. All new contents are made before the first file is replaced.</summary>
    public static void Write(IReadOnlyList<ImageDatasetItem> items)
    {
        var changed = items.Where(static item => item.Caption != item.StoredCaption).ToList();
        var files = new List<(string Path, string Content)>();
        foreach (var group in changed.Where(static item => item.MetadataFile is not null).GroupBy(static item => item.MetadataFile!))
        {
            files.Add((group.Key, MetadataWith(group.Key, group.ToDictionary(static item => item.Path, static item => item.Caption))));
        }

        foreach (var item in changed)
        {
            files.AddRange(item.CaptionFiles.Select(file => (file, FirstLineReplaced(file, item.Caption))));
            if (item.CaptionFiles.Count == 0 && item.MetadataFile is null)
            {
                files.Add((NewCaptionFile(item), item.Caption + "\n"));
            }
        }

        foreach (var (path, content) in files)
        {
            AtomicFile.WriteAllText(path, content);
        }
    }

    /// <summary>The item after its caption was written.</summary>
    public static ImageDatasetItem AsStored(ImageDatasetItem item) => item.Caption == item.StoredCaption
        ? item
        : item with
        {
            StoredCaption = item.Caption,
            CaptionFiles = item.CaptionFiles.Count == 0 && item.MetadataFile is null ? [NewCaptionFile(item)] : item.CaptionFiles,
        };

    /// <summary>One object as one line, with letters of every script as they are.</summary>
    public static string Line(JsonObject entry) => entry.ToJsonString(Readable);

    private static string NewCaptionFile(ImageDatasetItem item) => Path.ChangeExtension(item.Path, ".txt");

    private static string FirstLineReplaced(string file, string caption)
    {
        var text = Text(file);
        var end = text.AsSpan().IndexOfAny('\r', '\n');
        return end < 0 ? caption + "\n" : caption + text[end..];
    }

    private static string MetadataWith(string file, Dictionary<string, string> captions)
    {
        var folder = Path.GetDirectoryName(file)!;
        var result = new StringBuilder();
        foreach (var line in Text(file).Split('\n'))
        {
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            var text = line.TrimEnd('\r');
            if (JsonNode.Parse(text) is JsonObject entry
                && (string?)entry["file_name"] is { } name
                && captions.TryGetValue(MetadataFile.PathOf(name, folder), out var caption))
            {
                entry["text"] = caption;
                text = Line(entry);
            }

            result.Append(text).Append('\n');
        }

        return result.ToString();
    }

    private static string Text(string file)
    {
        var (text, fault) = StrictText.Read(file);
        return text ?? throw new InvalidDataException($"{file}: {fault}");
    }
}
