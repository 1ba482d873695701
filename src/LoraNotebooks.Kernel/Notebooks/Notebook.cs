using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using LoraNotebooks.Foundation;

namespace LoraNotebooks.Kernel.Notebooks;

/// <summary>
/// A Jupyter notebook (nbformat 4, written as 4.5) that keeps whatever it does not know: metadata, ids, the order of keys, indentation.
/// </summary>
/// <remarks>Source: the nbformat 4.5 JSON schema of the Jupyter project.</remarks>
public sealed class Notebook
{
    private const int Major = 4;
    private const int MinorWithIds = 5;

    /// <summary>Where this program keeps what it has to say in a notebook's metadata.</summary>
    internal const string OwnMetadata = "lora_notebooks";

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    private static readonly JsonDocumentOptions NoDuplicates = new() { AllowDuplicateProperties = false };

    private readonly JsonObject _json;
    private readonly string _indent;
    private readonly bool _endsWithNewLine;
    private readonly List<NotebookCell> _cells;

    private Notebook(JsonObject json, string indent, bool endsWithNewLine)
    {
        (_json, _indent, _endsWithNewLine) = (json, indent, endsWithNewLine);
        _cells = [.. CellArray.Select(cell => new NotebookCell((JsonObject)cell!))];
    }

    /// <summary>The cells from top to bottom.</summary>
    public IReadOnlyList<NotebookCell> Cells => _cells;

    /// <summary>The name of the language that the metadata gives; null if it gives none.</summary>
    public string? Language =>
        Text(_json["metadata"]?["kernelspec"]?["language"]) ?? Text(_json["metadata"]?["language_info"]?["name"]);

    /// <summary>Whether the cells are C#, as far as the metadata says.</summary>
    public bool IsCSharp => Language is null || Language.ToUpperInvariant() is "C#" or "CSHARP" or "POLYGLOT-NOTEBOOK";

    /// <summary>The hash of the code that made the stored outputs, see <see cref="NotebookDrift.HashOf"/>; null if no complete run is on record.</summary>
    internal string? ExecutedCode
    {
        get => Text(Own("executed"));
        set => SetOwn("executed", value);
    }

    /// <summary>
    /// What the stored outputs were computed on: processor and, where it was in use, libtorch, threads and kernels; null if no run is on record.
    /// </summary>
    internal JsonObject? Machine
    {
        get => Own("machine") as JsonObject;
        set => SetOwn("machine", value);
    }

    private JsonArray CellArray => (JsonArray)_json["cells"]!;

    /// <summary>An empty C# notebook.</summary>
    public static Notebook Create() => new(
        new JsonObject
        {
            ["cells"] = new JsonArray(),
            ["metadata"] = CSharpMetadata(),
            ["nbformat"] = Major,
            ["nbformat_minor"] = MinorWithIds,
        },
        indent: " ",
        endsWithNewLine: true);

    /// <summary>Reads a notebook from a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a notebook of nbformat 4; the message says what is wrong and where.</exception>
    public static Notebook Load(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"There is no file {path}.", path);
        }

        try
        {
            return Parse(StrictUtf8.GetString(File.ReadAllBytes(path)));
        }
        catch (Exception error) when (error is InvalidDataException or DecoderFallbackException)
        {
            throw new InvalidDataException($"{path} is not a notebook: {(error is InvalidDataException ? error.Message : "it is not UTF-8 text.")}", error);
        }
    }

    /// <summary>Reads a notebook from its JSON text.</summary>
    /// <exception cref="InvalidDataException">The text is not a notebook of nbformat 4.</exception>
    public static Notebook Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        JsonNode? root;
        try
        {
            root = JsonNode.Parse(text.TrimStart('\uFEFF'), documentOptions: NoDuplicates);
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"it is not JSON ({error.Message})", error);
        }

        if (root is not JsonObject json)
        {
            throw new InvalidDataException("its JSON is not an object with \"cells\", \"metadata\" and \"nbformat\".");
        }

        try
        {
            // Strings are decoded when they are asked for; half a surrogate pair shows itself only then.
            _ = NotebookJson.Write(json, "");
        }
        catch (InvalidOperationException error)
        {
            throw new InvalidDataException($"it has text that is not Unicode ({error.Message})", error);
        }

        return Checked(json, text);
    }

    /// <summary>The notebook as JSON text, laid out as it was read.</summary>
    public string ToJson() => NotebookJson.Write(_json, _indent) + (_endsWithNewLine ? "\n" : "");

    /// <summary>Writes the notebook; the file appears complete or not at all.</summary>
    public void Save(string path) => AtomicFile.WriteAllText(path, ToJson());

    /// <summary>An independent copy.</summary>
    public Notebook Clone() => new((JsonObject)_json.DeepClone(), _indent, _endsWithNewLine);

    /// <summary>Inserts a new cell.</summary>
    /// <param name="index">Where: 0 is the top.</param>
    /// <param name="kind">Its kind.</param>
    /// <param name="source">Its text.</param>
    /// <param name="tags">Tags for its metadata.</param>
    /// <returns>The cell, to be changed further.</returns>
    public NotebookCell Insert(int index, CellKind kind, string source, params string[] tags)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)index, (uint)_cells.Count, nameof(index));
        var json = new JsonObject { ["cell_type"] = kind.ToString().ToLowerInvariant() };
        if (kind == CellKind.Code)
        {
            json["execution_count"] = null;
        }

        json["id"] = FreeId(tags.FirstOrDefault() ?? $"cell-{index + 1}");
        json["metadata"] = tags.Length == 0 ? [] : new JsonObject { ["tags"] = new JsonArray([.. tags.Select(tag => (JsonNode)tag)]) };
        if (kind == CellKind.Code)
        {
            json["outputs"] = new JsonArray();
        }

        json["source"] = SplitText(source);
        CellArray.Insert(index, json);
        var cell = new NotebookCell(json);
        _cells.Insert(index, cell);
        return cell;
    }

    /// <summary>Adds a new cell at the end.</summary>
    public NotebookCell Add(CellKind kind, string source, params string[] tags) => Insert(_cells.Count, kind, source, tags);

    /// <summary>Removes a cell.</summary>
    public void RemoveAt(int index)
    {
        _cells.RemoveAt(index);
        CellArray.RemoveAt(index);
    }

    /// <summary>Brings the file to nbformat 4.5: every cell gets an id, and the metadata names C# if it names no language.</summary>
    public void Normalize()
    {
        _json["nbformat_minor"] = Math.Max(MinorWithIds, (int)_json["nbformat_minor"]!);
        if (Language is null)
        {
            var metadata = (JsonObject)_json["metadata"]!;
            foreach (var (name, value) in CSharpMetadata())
            {
                metadata[name] = value!.DeepClone();
            }
        }

        for (var i = 0; i < _cells.Count; i++)
        {
            _cells[i].Id ??= FreeId($"cell-{i + 1}");
        }
    }

    internal static CellKind? KindOf(string cellType) => cellType switch
    {
        "code" => CellKind.Code,
        "markdown" => CellKind.Markdown,
        "raw" => CellKind.Raw,
        _ => null,
    };

    /// <summary>nbformat stores text as one string or as a list of lines that keep their line feeds.</summary>
    internal static string JoinText(JsonNode? node) => node switch
    {
        JsonArray lines => string.Concat(lines.Select(Text)),
        _ => Text(node) ?? "",
    };

    internal static JsonArray SplitText(string text)
    {
        var lines = new JsonArray();
        for (var start = 0; start < text.Length;)
        {
            var end = text.IndexOf('\n', start) is >= 0 and var at ? at + 1 : text.Length;
            lines.Add((JsonNode)text[start..end]);
            start = end;
        }

        return lines;
    }

    private JsonNode? Own(string name) => _json["metadata"]![OwnMetadata] is JsonObject own ? own[name] : null;

    /// <summary>Sets or, with null, removes one of the things that this program keeps; the others stay, and an empty object goes.</summary>
    private void SetOwn(string name, JsonNode? value)
    {
        var metadata = (JsonObject)_json["metadata"]!;
        if (metadata[OwnMetadata] is not JsonObject own)
        {
            metadata[OwnMetadata] = own = [];
        }

        own.Remove(name);
        if (value is not null)
        {
            own[name] = value;
        }

        if (own.Count == 0)
        {
            metadata.Remove(OwnMetadata);
        }
    }

    private static Notebook Checked(JsonObject json, string text)
    {
        var version = json["nbformat"] is JsonValue v && v.TryGetValue(out int major) ? major : 0;
        if (version != Major)
        {
            throw new InvalidDataException(version == 0
                ? "it has no \"nbformat\" number."
                : $"it has nbformat {version}, but 4 is needed. Open and save it in a current Jupyter to convert it.");
        }

        if (json["nbformat_minor"] is not JsonValue minor || !minor.TryGetValue(out int _)
            || json["metadata"] is not JsonObject || json["cells"] is not JsonArray cells)
        {
            throw new InvalidDataException("it needs a number \"nbformat_minor\", an object \"metadata\" and a list \"cells\".");
        }

        for (var i = 0; i < cells.Count; i++)
        {
            if (Fault(cells[i]) is { } fault)
            {
                throw new InvalidDataException($"cell {i + 1} of {cells.Count} {fault}.");
            }
        }

        var lines = text.Split('\n', 3);
        var second = lines.Length > 1 ? lines[1] : " ";
        var indent = second[..(second.Length - second.TrimStart().Length)];
        return new Notebook(json, indent, text.EndsWith('\n'));
    }

    private static string? Fault(JsonNode? cell)
    {
        if (cell is not JsonObject members)
        {
            return "is not an object";
        }

        return Text(members["cell_type"]) is not { } type ? "has no \"cell_type\""
            : KindOf(type) is null ? $"has the unknown cell_type \"{type}\""
            : members["source"] is null ? "has no \"source\""
            : members["source"] is JsonArray lines ? lines.All(line => Text(line) is not null) ? null : "has a \"source\" whose lines are not all text"
            : Text(members["source"]) is null ? "has a \"source\" that is neither text nor a list of lines"
            : null;
    }

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    private static JsonObject CSharpMetadata() => new()
    {
        ["kernelspec"] = new JsonObject { ["display_name"] = "C# (LoraNotebooks)", ["language"] = "C#", ["name"] = "lora-notebooks" },
        ["language_info"] = new JsonObject { ["file_extension"] = ".cs", ["mimetype"] = "text/x-csharp", ["name"] = "C#" },
    };

    private string FreeId(string wanted)
    {
        var id = wanted;
        for (var n = 2; _cells.Any(cell => cell.Id == id); n++)
        {
            id = $"{wanted}-{n}";
        }

        return id;
    }
}
