using System.Text.Json;

namespace LoraNotebooks.Data;

/// <summary>One line of a metadata.jsonl.</summary>
/// <param name="Path">The image's full path.</param>
/// <param name="Text">The caption, if the line has one.</param>
/// <param name="Crop">The crop, if the line has one.</param>
/// <param name="Fields">All other fields.</param>
internal sealed record MetadataLine(string Path, string? Text, CropRectangle? Crop, IReadOnlyDictionary<string, JsonElement> Fields);

/// <summary>
/// metadata.jsonl of Hugging Face's imagefolder: one JSON object a line with <c>file_name</c> (relative to the file's folder), <c>text</c>,
/// and here optionally <c>crop</c> as [x, y, width, height].
/// </summary>
internal static class MetadataFile
{
    public const string Name = "metadata.jsonl";

    /// <summary>Whether a file is called so, in whatever capitals.</summary>
    public static bool IsName(string file) => string.Equals(Path.GetFileName(file), Name, StringComparison.OrdinalIgnoreCase);

    /// <summary>Fields that mean something here, so that another kind of value would be left out without a word.</summary>
    private static readonly Dictionary<string, (string Expected, Func<JsonElement, bool> IsRight)> Meanings = new()
    {
        ["regularization"] = ("true or false", IsTruth),
        ["mirrored"] = ("true or false", IsTruth),
        ["loss_weight"] = ("a number of 0 or more", static value => value.ValueKind == JsonValueKind.Number && value.GetDouble() >= 0),
        ["repeats"] =
            ("a whole number of 1 or more", static value => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var count) && count >= 1),
    };

    /// <summary>The full path of a file_name; Windows' separators are read, too.</summary>
    public static string PathOf(string name, string folder) => Path.GetFullPath(name.Replace('\\', '/'), folder);

    /// <summary>Reads the lines in order; what is wrong goes to <paramref name="report"/> as fault and message.</summary>
    public static IReadOnlyList<MetadataLine> Read(string path, Action<DatasetFault, string> report)
    {
        var (text, encodingFault) = StrictText.Read(path);
        if (text is null)
        {
            report(DatasetFault.TextEncoding, encodingFault!);
            return [];
        }

        var folder = Path.GetDirectoryName(path)!;
        var lines = new List<MetadataLine>();
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        var number = 0;
        foreach (var line in text.Split('\n'))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            var parsed = Parse(line, folder, (fault, message) => report(fault, $"line {number}: {message}"));
            if (parsed is null)
            {
                continue;
            }

            if (!seen.TryAdd(parsed.Path, number))
            {
                report(
                    DatasetFault.DuplicateName,
                    $"line {number}: {Path.GetFileName(parsed.Path)} stands in line {seen[parsed.Path]} already. Keep one of the lines.");
                continue;
            }

            lines.Add(parsed);
        }

        return lines;
    }

    private static MetadataLine? Parse(string line, string folder, Action<DatasetFault, string> report)
    {
        JsonElement entry;
        try
        {
            using var document = JsonDocument.Parse(line);
            entry = document.RootElement.Clone();
            Decode(entry);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            report(
                DatasetFault.InvalidMetadata,
                $"got no JSON ({error.Message.Split(" LineNumber")[0]}), "
                + "expected an object such as {\"file_name\": \"a.png\", \"text\": \"a caption\"}.");
            return null;
        }

        if (entry.ValueKind != JsonValueKind.Object
            || !entry.TryGetProperty("file_name", out var name)
            || name.ValueKind != JsonValueKind.String
            || name.GetString() is not { Length: > 0 } file)
        {
            report(DatasetFault.InvalidMetadata, "got no file_name, expected an object with the image's name as the text file_name.");
            return null;
        }

        var path = file.Contains('\0') ? null : PathOf(file, folder);
        if (path is null || !path.StartsWith(folder + Path.DirectorySeparatorChar, StringComparison.Ordinal))
        {
            report(DatasetFault.InvalidMetadata, $"got the file_name {file}, expected one inside this folder. Move the image here.");
            return null;
        }

        var text = Text(entry, report);
        var crop = Crop(entry, file, report);
        foreach (var property in entry.EnumerateObject().Where(static property => IsWrong(property.Name, property.Value)))
        {
            report(DatasetFault.InvalidMetadata, $"{property.Name} of {file}: got {property.Value.GetRawText()}, expected {Meanings[property.Name].Expected}.");
        }

        var fields = entry.EnumerateObject().Where(static property => property.Name is not ("file_name" or "text" or "crop"))
            .GroupBy(static property => property.Name).ToDictionary(static group => group.Key, static group => group.Last().Value);
        return new MetadataLine(path, text, crop, fields);
    }

    private static bool IsTruth(JsonElement value) => value.ValueKind is JsonValueKind.True or JsonValueKind.False;

    private static bool IsWrong(string name, JsonElement value) => Meanings.TryGetValue(name, out var meaning) && !meaning.IsRight(value);

    /// <summary>Asks for every text once: an element decodes its texts only then, and half a character (a lone surrogate) fails.</summary>
    private static void Decode(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    _ = property.Name;
                    Decode(property.Value);
                }

                break;
            case JsonValueKind.Array:
                foreach (var item in element.EnumerateArray())
                {
                    Decode(item);
                }

                break;
            case JsonValueKind.String:
                _ = element.GetString();
                break;
        }
    }

    private static string? Text(JsonElement entry, Action<DatasetFault, string> report)
    {
        if (!entry.TryGetProperty("text", out var text) || text.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        if (text.ValueKind == JsonValueKind.String)
        {
            return text.GetString();
        }

        report(DatasetFault.InvalidMetadata, $"text: got {text.GetRawText()}, expected a text in quotes.");
        return null;
    }

    private static CropRectangle? Crop(JsonElement entry, string file, Action<DatasetFault, string> report)
    {
        if (!entry.TryGetProperty("crop", out var crop) || crop.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        var numbers = crop.ValueKind == JsonValueKind.Array
            ? crop.EnumerateArray().Select(static e => e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out var number) ? number : (int?)null).ToList()
            : [];
        if (numbers is [int x and >= 0, int y and >= 0, int width and > 0, int height and > 0])
        {
            return new CropRectangle(x, y, width, height);
        }

        report(
            DatasetFault.InvalidCrop,
            $"crop of {file}: got {crop.GetRawText()}, expected [x, y, width, height] in whole pixels, x and y from 0, width and height from 1.");
        return null;
    }
}
