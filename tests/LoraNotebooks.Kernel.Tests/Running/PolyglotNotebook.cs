using System.Text.Json.Nodes;

namespace LoraNotebooks.Kernel.Tests.Running;

/// <summary>A notebook of Polyglot Notebooks, whose cells name their languages.</summary>
internal static class PolyglotNotebook
{
    /// <summary>Writes it; what follows a language after a blank is a tag.</summary>
    public static string Write(TemporaryFolder folder, params (string Language, string Source)[] cells)
    {
        var json = new JsonObject
        {
            ["cells"] = new JsonArray([.. cells.Select(cell => (JsonNode)new JsonObject
            {
                ["cell_type"] = "code",
                ["metadata"] = new JsonObject
                {
                    ["polyglot_notebook"] = new JsonObject { ["kernelName"] = cell.Language.Split(' ')[0] },
                    ["tags"] = new JsonArray([.. cell.Language.Split(' ')[1..].Select(tag => (JsonNode)tag)]),
                },
                ["source"] = cell.Source,
                ["outputs"] = new JsonArray(),
                ["execution_count"] = null,
            })]),
            ["metadata"] = new JsonObject { ["kernelspec"] = new JsonObject { ["name"] = ".net-csharp", ["language"] = "C#", ["display_name"] = ".NET (C#)" } },
            ["nbformat"] = 4,
            ["nbformat_minor"] = 5,
        };
        return folder.Write("polyglot.ipynb", json.ToJsonString());
    }
}
