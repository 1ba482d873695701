using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>The lines of a cell that speak to the notebook: how they are found, and what they do.</summary>
public sealed class CellMagicsTests
{
    [Theory]
    [InlineData("#!time", "#!time")]
    [InlineData("  #!TIME  now ", "#!time")]
    [InlineData("#!csharp", "#!csharp")]
    [InlineData("#!C#", "#!csharp")]
    [InlineData("#!cs\tx", "#!csharp")]
    [InlineData("#!nothing", null)]
    [InlineData("#!", null)]
    [InlineData("#i \"nuget: x\"", null)]
    [InlineData("time", null)]
    public void OfLine_Line_IsTheKnownMagicItStartsWith(string line, string? expected) => Assert.Equal(expected, CellMagics.OfLine(line)?.Name);

    [Fact]
    public void Known_Magics_AreInOrderAndSayWhatTheyDo()
    {
        Assert.Equal(
            ["#!about", "#!csharp", "#!html", "#!lsmagic", "#!markdown", "#!mermaid", "#!time", "#!who", "#!whos"],
            CellMagics.Known.Select(magic => magic.Name));
        Assert.Equal(["#!html", "#!markdown", "#!mermaid"], CellMagics.Known.Where(magic => magic.IsOtherLanguage).Select(magic => magic.Name));
        Assert.Equal(["#!csharp", "#!time"], CellMagics.Known.Where(magic => !magic.Shows).Select(magic => magic.Name));
        Assert.All(CellMagics.Known, magic => Assert.EndsWith(".", magic.Description, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("1 + 1", "1 + 1")]
    [InlineData("#!time\n1", "      \n1", "#!time||")]
    [InlineData("#!Time  a  b \n1", "             \n1", "#!time|a  b|")]
    [InlineData("1\n  #!who\n2", "1\n       \n2", "#!who||")]
    [InlineData("var s = @\"\n#!time\n\";", "var s = @\"\n#!time\n\";")]
    [InlineData("/*\n#!time\n*/ 1", "/*\n#!time\n*/ 1")]
    [InlineData("#i \"nuget: x\"\n1", "             \n1", "#i|\"nuget: x\"|")]
    [InlineData("#i\"nuget: x\"\n1", "            \n1", "#i|\"nuget: x\"|")]
    [InlineData("#i\t\"x\"\n1", "      \n1", "#i|\"x\"|")]
    [InlineData("#i\n1", "  \n1", "#i||")]
    [InlineData("#if DEBUG\n1\n#endif", "#if DEBUG\n1\n#endif")]
    [InlineData("#!html\n<b>\n#!csharp\n1", "      \n   \n        \n1", "#!html||<b>", "#!csharp||")]
    [InlineData("#!html\r\n<b>\r\n#!csharp\r\n1", "      \r\n   \r\n        \r\n1", "#!html||<b>", "#!csharp||")]
    [InlineData("#!html\n<b>\n#!time\n</b>", "      \n   \n      \n    ", "#!html||<b>\n#!time\n</b>")]
    [InlineData("#!html\na\n#!markdown\nb", "      \n \n          \n ", "#!html||a", "#!markdown||b")]
    [InlineData("#!html\na\n  #!C#\n2", "      \n \n      \n2", "#!html||a", "#!c#||")]
    [InlineData("#!html", "      ", "#!html||")]
    [InlineData("#!html\n", "      \n", "#!html||")]
    [InlineData("1\n#!fsharp\nlet x = 1", "1\n        \n         ", "#!fsharp||let x = 1")]
    [InlineData("1\n#!nothing\n2", "1\n         \n2", "#!nothing||")]
    public void Split_Cell_BlanksMagicsAndKeepsEveryOtherCharacterAtItsPlace(string code, string kept, params string[] magics)
    {
        var split = CellMagics.Split(code);
        Assert.Equal(kept, split.Code);
        Assert.Equal(magics, split.Magics.Select(magic => $"{magic.Name}|{magic.Argument}|{magic.Body}"));
        Assert.All(split.Magics, magic => Assert.StartsWith(magic.Name, code[magic.Start..].TrimStart(), StringComparison.OrdinalIgnoreCase));
        Assert.Equal(kept, CellMagics.ToCSharp(code));
    }

    [Fact]
    public void Parts_MagicsThatShow_StandBetweenWhatIsBeforeAndBehindThem()
    {
        const string Code = "#!time\nvar a = 1;\n#!html\n<b>\n#!csharp\na\n#!about\n#!lsmagic\nif (true)\n{\n#!who\n}\n#!csharp\n2";
        var parts = CellMagics.Parts(Code);
        Assert.Equal(
            ["#!time", "#!html #!csharp", "#!about #!lsmagic #!who #!csharp"],
            parts.Select(part => string.Join(' ', part.Magics.Select(magic => magic.Name))));
        Assert.Equal(["var a = 1;", "a", "if (true)\n{\n     \n}\n        \n2"], parts.Select(part => part.Code.Trim()));
        Assert.All(parts, part =>
        {
            Assert.Equal(Code.Length, part.Code.Length);
            Assert.Equal(Code.Count(letter => letter == '\n'), part.Code.Count(letter => letter == '\n'));
            Assert.True(part.HasCode);
        });
        Assert.False(Assert.Single(CellMagics.Parts("#!who\n")).HasCode);
        Assert.Equal("", Assert.Single(CellMagics.Parts("")).Code);
    }

    [Fact]
    public void Apply_EveryMagic_DoesWhatItSays()
    {
        var host = new Host();
        using var use = NotebookHost.Use(host);
        var written = "";
        var variables = new Dictionary<string, object?>();
        void Apply(string code) => MagicCommands.Apply(CellMagics.Split(code).Magics, Resolver(), () => variables, text => written += text)?.Dispose();
        string Take()
        {
            var taken = written;
            written = "";
            return taken;
        }

        Apply("#!csharp\n#!c#\n#!cs");
        Assert.Equal("", Take());
        Apply("#!html\n<b>");
        Apply("#!markdown\n# M");
        Apply("#!mermaid\ngraph TD");
        Assert.Equal(
            [("<b>", "<b>", null), ("# M", null, "# M"), ("```mermaid\ngraph TD\n```", null, "```mermaid\ngraph TD\n```")],
            host.Shown.Select(shown => (shown.Text(MimeTypes.PlainText), shown.Text(MimeTypes.Html), shown.Text(MimeTypes.Markdown))));
        Apply("#!who");
        Assert.Equal("There are no variables yet.\n", Take());
        Apply("#!whos");
        Assert.Equal("There are no variables yet.", host.Shown[^1].Text(MimeTypes.PlainText));
        (variables["b"], variables["a"], variables["B"]) = (new List<int> { 1, 2 }, null, "text");
        Apply("#!who");
        Assert.Equal("B, a, b\n", Take());
        Apply("#!whos");
        Assert.Equal("Name  Type       Value\nB     string     text\na                null\nb     List<int>  1, 2", host.Shown[^1].Text(MimeTypes.PlainText));
        Apply("#!lsmagic");
        var list = Take().Split('\n')[..^1];
        Assert.Equal(CellMagics.Known.Count + 4, list.Length);
        Assert.Equal("#!about                      Says which program, .NET and libtorch run the notebook.", list[0]);
        Assert.Equal(
            [
                "#i \"nuget: source\"           Adds a package source, an address or a folder.", "#r \"nuget: Name, version\"    Makes a package usable.",
                "#r \"file.dll\"                Makes an assembly usable.", "#load \"file.csx\"             Runs a file of C# as part of the cell.",
            ],
            list[^4..]);
        Apply("#!about");
        Assert.Matches(@"\ALoraNotebooks \d+\.\d+\.\d+[^+ ]*, \.NET 10\.\d+\.\d+, TorchSharp 0\.107\.0, .+ processors\n\z", Take());
        Apply("#!time");
        Assert.Matches(@"\AWall time: \d+(\.\d{1,2})? ms\n\z", Take());
    }

    [Theory]
    [InlineData("#!fsharp\nlet", "What follows #!fsharp is F#; only C# runs here, and Markdown, HTML and Mermaid are shown. #!lsmagic lists what there is.")]
    [InlineData("#!nothing", "There is no #!nothing. There are: #!about, #!csharp, #!html, #!lsmagic, #!markdown, #!mermaid, #!time, #!who, #!whos.")]
    [InlineData("#i nuget: x", "#i nuget: x cannot be read. Write #i \"nuget: https://…/index.json\" or #i \"nuget: folder\".")]
    [InlineData("#i \"x\"", "#i \"x\" cannot be read. Write #i \"nuget: https://…/index.json\" or #i \"nuget: folder\".")]
    [InlineData("#i \"nuget: x", "#i \"nuget: x cannot be read. Write #i \"nuget: https://…/index.json\" or #i \"nuget: folder\".")]
    [InlineData("#i", "#i  cannot be read. Write #i \"nuget: https://…/index.json\" or #i \"nuget: folder\".")]
    public void Check_WhatThereIsNot_SaysWhatThereIs(string code, string expected)
    {
        var magic = Assert.Single(CellMagics.Split(code).Magics);
        Assert.Equal(expected, Assert.Throws<CellMagicException>(() => MagicCommands.Check(magic, Resolver())).Message);
        Assert.Equal(
            expected,
            Assert.Throws<CellMagicException>(() =>
                MagicCommands.Apply([magic], Resolver(), () => new Dictionary<string, object?>(), _ => { })).Message);
    }

    [Theory]
    [InlineData("#!time")]
    [InlineData("#!cs")]
    [InlineData("#!html")]
    [InlineData("#i \"nuget: https://example.org/index.json\"")]
    public void Check_WhatThereIs_IsFine(string code) => MagicCommands.Check(Assert.Single(CellMagics.Split(code).Magics), Resolver());

    private static CellReferenceResolver Resolver() => new(Path.GetTempPath(), static _ => { }, static _ => { });

    private sealed class Host : INotebookHost, IDisplayHandle
    {
        public List<MimeBundle> Shown { get; } = [];

        public IDisplayHandle Display(MimeBundle bundle)
        {
            Update(bundle);
            return this;
        }

        public void Update(MimeBundle bundle) => Shown.Add(bundle);
    }
}
