using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace LoraNotebooks.Comparison;

/// <summary>What the index of a saved grid tells of one image.</summary>
/// <param name="File">The image's file name.</param>
/// <param name="X">The value of its column, as people read it.</param>
/// <param name="Y">That of its row; <see langword="null"/> without such an axis.</param>
/// <param name="Z">That of its grid in the stack; <see langword="null"/> without such an axis.</param>
/// <param name="Settings">What it was made with: the same renderer draws it again from them.</param>
/// <param name="Facts">What decided it beside the settings, see <see cref="IXyzRenderer.Facts"/>.</param>
public sealed record XyzIndexEntry(string File, string X, string? Y, string? Z, XyzSettings Settings, IReadOnlyDictionary<string, string> Facts);

/// <summary>
/// The index beside the images of a saved grid: index.json, which is read back, and index.csv for spreadsheets. The columns are file, x, y, z,
/// each property of <see cref="XyzSettings"/> in small letters with underscores, and each fact; numbers have all their digits.
/// </summary>
/// <example><code>
/// foreach (var entry in XyzIndex.Load("grids/weights"))
/// {
///     renderer.Render(entry.Settings, default).SavePng(entry.File);
/// }
/// </code></example>
public static class XyzIndex
{
    /// <summary>The file that is read back.</summary>
    public const string FileName = "index.json";

    private const string TableName = "index.csv";

    private static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new JsonStringEnumConverter() },
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NewLine = "\n",
    };

    private static readonly string[] Settings =
        [.. JsonSerializer.SerializeToNode(new XyzSettings { Prompt = "" }, Options)!.AsObject().Select(static property => property.Key)];

    /// <summary>Reads the index of a grid that <see cref="XyzResult.Save"/> wrote.</summary>
    /// <param name="path">The folder, or its index.json.</param>
    /// <returns>The images in the order in which they were painted; settings that an older index lacks have their default.</returns>
    /// <exception cref="FileNotFoundException">There is no index.</exception>
    /// <exception cref="InvalidDataException">It is damaged, or something else.</exception>
    public static IReadOnlyList<XyzIndexEntry> Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var file = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        if (!File.Exists(file))
        {
            throw new FileNotFoundException($"There is no index at '{file}'; give the folder that a grid was saved to, or its {FileName}.", file);
        }

        try
        {
            var rows = JsonNode.Parse(File.ReadAllText(file), documentOptions: new() { AllowDuplicateProperties = false });
            return rows is JsonArray array ? [.. array.Select(Read)] : throw new JsonException("it holds no list");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            var expected = $"a list of objects with {string.Join(", ", Settings)}";
            throw new InvalidDataException($"'{file}' is no index of a saved grid: {error.Message} Expected {expected}.", error);
        }
    }

    /// <summary>Both files.</summary>
    internal static IReadOnlyList<(string Name, byte[] Content)> Files(IEnumerable<XyzIndexEntry> entries)
    {
        var rows = entries.Select(Row).ToList();
        var index = new JsonArray([.. rows]).ToJsonString(Options) + "\n";

        var flat = rows.Select(Flat).ToList();
        var columns = flat.SelectMany(static row => row.Keys).Distinct().ToList();
        string[] lines = [string.Join(',', columns), .. flat.Select(row => string.Join(',', columns.Select(column => Field(row.GetValueOrDefault(column)))))];
        return [(FileName, Encoding.UTF8.GetBytes(index)), (TableName, Encoding.UTF8.GetBytes(string.Concat(lines.Select(static line => line + "\n"))))];
    }

    private static JsonObject Row(XyzIndexEntry entry)
    {
        var row = new JsonObject { ["file"] = entry.File, ["x"] = entry.X, ["y"] = entry.Y, ["z"] = entry.Z };
        foreach (var (name, value) in JsonSerializer.SerializeToNode(entry.Settings, Options)!.AsObject())
        {
            row.Add(name, value?.DeepClone());
        }

        foreach (var (name, value) in entry.Facts)
        {
            row.Add(name, value);
        }

        return row;
    }

    private static XyzIndexEntry Read(JsonNode? node)
    {
        var row = node?.AsObject() ?? throw new JsonException("an entry is null.");
        var settings = row.Where(static pair => Settings.Contains(pair.Key)).Select(static pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone()));
        var facts = row.Where(static pair => !Settings.Contains(pair.Key) && pair.Key is not ("file" or "x" or "y" or "z"));
        return new(
            Text("file") ?? throw new JsonException("an entry has no file."),
            Text("x") ?? throw new JsonException("an entry has no x."),
            Text("y"),
            Text("z"),
            new JsonObject(settings).Deserialize<XyzSettings>(Options)!,
            facts.ToDictionary(static pair => pair.Key, static pair => pair.Value?.GetValue<string>() ?? throw new JsonException($"{pair.Key} is null.")));

        string? Text(string name) => row[name]?.GetValue<string>();
    }

    /// <summary>The members of members as members of their own, prefix_name.</summary>
    private static Dictionary<string, JsonNode?> Flat(JsonObject row) => row
        .SelectMany(static pair => pair.Value is JsonObject inner
            ? inner.Select(member => KeyValuePair.Create($"{pair.Key}_{member.Key}", member.Value))
            : [pair])
        .ToDictionary();

    private static string Field(JsonNode? value)
    {
        var text = value is null ? "" : value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : value.ToJsonString();
        return text.AsSpan().ContainsAny(",\"\r\n") ? $"\"{text.Replace("\"", "\"\"")}\"" : text;
    }
}
