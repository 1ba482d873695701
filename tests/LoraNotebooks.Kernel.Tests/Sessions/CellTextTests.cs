using System.Diagnostics;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>Small things that cells are told and that is told of them: languages, hints, sources, coloured errors, values, using declarations.</summary>
public sealed class CellTextTests
{
    [Theory]
    [InlineData("csharp", "C#", "#!csharp")]
    [InlineData("C#", "C#", "#!csharp")]
    [InlineData("cs", "C#", "#!csharp")]
    [InlineData("markdown", "Markdown", "#!markdown")]
    [InlineData("html", "HTML", "#!html")]
    [InlineData("mermaid", "Mermaid", "#!mermaid")]
    [InlineData("fsharp", "F#", null)]
    [InlineData("F#", "F#", null)]
    [InlineData("fs", "F#", null)]
    [InlineData("javascript", "JavaScript", null)]
    [InlineData("js", "JavaScript", null)]
    [InlineData("typescript", "TypeScript", null)]
    [InlineData("pwsh", "PowerShell", null)]
    [InlineData("powershell", "PowerShell", null)]
    [InlineData("python", "Python", null)]
    [InlineData("pythonkernel", "Python", null)]
    [InlineData("r", "R", null)]
    [InlineData("sql", "SQL", null)]
    [InlineData("mssql", "SQL", null)]
    [InlineData("kql", "KQL", null)]
    [InlineData("http", "HTTP", null)]
    [InlineData("httprequest", "HTTP", null)]
    [InlineData("bash", "Bash", null)]
    [InlineData("sh", "Shell", null)]
    [InlineData("vb", "Visual Basic", null)]
    [InlineData("vbnet", "Visual Basic", null)]
    [InlineData("klingon", "klingon", null)]
    public void Of_Language_HasItsNameAndWhetherItRuns(string name, string expected, string? magic)
    {
        Assert.Equal(new CellLanguage(expected, magic), CellLanguages.Of(name));
        Assert.Equal(name == "klingon" ? null : new CellLanguage(expected, magic), CellLanguages.OfMagic("#!" + name.ToUpperInvariant()));
        Assert.Equal(magic == "#!csharp", CellLanguages.Of(name).IsCSharp);
    }

    [Theory]
    [InlineData("%time x", "%time is not C#. To measure a cell, begin it with the line #!time.")]
    [InlineData("%%TIMEIT", "%%TIMEIT is not C#. To measure a cell, begin it with the line #!time.")]
    [InlineData("%prun x", "%prun is not C#. To measure a cell, begin it with the line #!time.")]
    [InlineData("%who", "%who is not C#. Write #!who.")]
    [InlineData("%who_ls", "%who_ls is not C#. Write #!who.")]
    [InlineData("%whos", "%whos is not C#. Write #!whos.")]
    [InlineData("%lsmagic", "%lsmagic is not C#. Write #!lsmagic.")]
    [InlineData("%magic", "%magic is not C#. Write #!lsmagic.")]
    [InlineData("%quickref", "%quickref is not C#. Write #!lsmagic.")]
    [InlineData("%%html", "%%html is not C#. Write #!html.")]
    [InlineData("%%markdown", "%%markdown is not C#. Write #!markdown.")]
    [InlineData("%%latex", "%%latex is not C#. Write #!markdown.")]
    [InlineData("%pip install A B", "%pip is not C#. A package is had by #r \"nuget: B\".")]
    [InlineData("%conda install -c x A --yes", "%conda is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("%dotnet add package A", "%dotnet is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("%pip", "%pip is not C#. A package is had by #r \"nuget: Name\".")]
    [InlineData("%pip install", "%pip is not C#. A package is had by #r \"nuget: Name\".")]
    [InlineData("%run a.py", "%run is not C#. Write #load \"a.py\".")]
    [InlineData("%load", "%load is not C#. Write #load \"file.csx\".")]
    [InlineData("%cd folder", "%cd is not C#. Write Environment.CurrentDirectory = \"…\";")]
    [InlineData("%pwd", "%pwd is not C#. Write Environment.CurrentDirectory.")]
    [InlineData("%env X", "%env is not C#. Write Environment.GetEnvironmentVariable(\"…\").")]
    [InlineData("%set_env X", "%set_env is not C#. Write Environment.GetEnvironmentVariable(\"…\").")]
    [InlineData("%matplotlib inline", "%matplotlib is not C#. Nothing has to be set up here; leave it out.")]
    [InlineData("%autoreload", "%autoreload is not C#. Nothing has to be set up here; leave it out.")]
    [InlineData("%config x", "%config is not C#. Nothing has to be set up here; leave it out.")]
    [InlineData("%load_ext x", "%load_ext is not C#. Nothing has to be set up here; leave it out.")]
    [InlineData("%%bash", "%%bash is not C#. A program is run by Process.Start(\"program\", \"arguments\").WaitForExit();")]
    [InlineData("%sh ls", "%sh is not C#. A program is run by Process.Start(\"ls\").WaitForExit();")]
    [InlineData("%system ls -la \"x\"", "%system is not C#. A program is run by Process.Start(\"ls\", \"-la \\\"x\\\"\").WaitForExit();")]
    [InlineData("%sx ls", "%sx is not C#. A program is run by Process.Start(\"ls\").WaitForExit();")]
    [InlineData("%%javascript", "%%javascript is not C#. What follows is JavaScript; only C# runs here, and Markdown, HTML and Mermaid are shown.")]
    [InlineData("%mermaid", "%mermaid is not C#. There are: #!about, #!csharp, #!html, #!lsmagic, #!markdown, #!mermaid, #!time, #!who, #!whos.")]
    [InlineData("%nothing", "%nothing is not C#. There are: #!about, #!csharp, #!html, #!lsmagic, #!markdown, #!mermaid, #!time, #!who, #!whos.")]
    [InlineData("!pip install A", "!pip is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("!pip3 install A", "!pip3 is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("!conda install A", "!conda is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("!nuget install A", "!nuget is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("!dotnet add package A", "!dotnet is not C#. A package is had by #r \"nuget: A\".")]
    [InlineData("!dotnet build", "!dotnet is not C#. A program is run by Process.Start(\"dotnet\", \"build\").WaitForExit();")]
    [InlineData("!cd folder", "!cd is not C#. Write Environment.CurrentDirectory = \"…\";")]
    [InlineData("  !ls  ", "!ls is not C#. Write Directory.GetFileSystemEntries(\".\").")]
    [InlineData("!dir", "!dir is not C#. Write Directory.GetFileSystemEntries(\".\").")]
    [InlineData("!!pwd", "!!pwd is not C#. Write Environment.CurrentDirectory.")]
    [InlineData("!cat a.txt", "!cat is not C#. Write File.ReadAllText(\"a.txt\").")]
    [InlineData("!type a.txt", "!type is not C#. Write File.ReadAllText(\"a.txt\").")]
    [InlineData("!nvidia-smi", "!nvidia-smi is not C#. A program is run by Process.Start(\"nvidia-smi\").WaitForExit();")]
    [InlineData("!whoami", "!whoami is not C#. A program is run by Process.Start(\"whoami\").WaitForExit();")]
    [InlineData("!date", "!date is not C#. A program is run by Process.Start(\"date\").WaitForExit();")]
    [InlineData("!hostname", "!hostname is not C#. A program is run by Process.Start(\"hostname\").WaitForExit();")]
    [InlineData("!python", "!python is not C#. A program is run by Process.Start(\"python\").WaitForExit();")]
    [InlineData("!Git log", "!Git is not C#. A program is run by Process.Start(\"Git\", \"log\").WaitForExit();")]
    [InlineData("!isDone", null)]
    [InlineData("!cat", null)]
    [InlineData("!a && b", null)]
    [InlineData("% 4", null)]
    [InlineData("%4 == 3", null)]
    [InlineData("x %time", null)]
    [InlineData("", null)]
    public void Hint_CommandOfAnotherNotebook_SaysWhatToWrite(string line, string? expected) => Assert.Equal(expected, CellHints.Of(line));

    [Fact]
    public void Sources_LinesOfCells_AreFoundByNameAndNumber()
    {
        var sources = new CellSources();
        sources.Add("cell 1", "one\r\n  two  \nthree");
        Assert.Equal(["", "one", "two", "three", ""], Enumerable.Range(0, 5).Select(number => sources.Line("cell 1", number)));
        Assert.Equal("", sources.Line("cell 2", 1));
        Assert.Equal("cell 1", sources.CellOf("cell 1"));
        Assert.Equal("cell 1", sources.CellOf("/some/folder/cell 1"));
        Assert.Null(sources.CellOf("cell 2"));
        Assert.Null(sources.CellOf(null));
        sources.Add("cell 1", "anew");
        Assert.Equal("anew", sources.Line("cell 1", 1));
        Assert.Equal("#line 1 \"a'b-c-d e\"\ncode", CellSources.WithLineDirective("code", "a\"b/c\\d\ne"));
        sources.Add("a\"b/c\\d\ne", "odd");
        Assert.Equal("odd", sources.Line("a'b-c-d e", 1));
    }

    [Theory]
    [InlineData("System.Exception: what", "R{System.Exception}: what")]
    [InlineData("Caused by System.IO.IOException: gone", "Caused by R{System.IO.IOException}: gone")]
    [InlineData("   at cell 2, line 3, in Divide: return 1 / n;", "   at G{cell 2, line 3}, in C{Divide}: return 1 / n;")]
    [InlineData("   at cell 2, line 3: Divide(0);", "   at G{cell 2, line 3}: Divide(0);")]
    [InlineData("   at Some.Type.Method", "   at C{Some.Type.Method}")]
    [InlineData("   at a place with room", "   at a place with room")]
    [InlineData("cell 1, line 2, column 13: error CS0103: The name", "G{cell 1, line 2, column 13}: R{error CS0103}: The name")]
    [InlineData("    2 | var b = a;", "G{    2 | }var b = a;")]
    [InlineData("      |     ^^^", "G{}      |     R{^^^}", true)]
    [InlineData("the message", "R{the message}")]
    [InlineData("anything else", "anything else")]
    public void Content_Line_IsColouredAsIPythonColoursOne(string line, string expected, bool isMark = false)
    {
        expected = (isMark ? expected.Replace("G{}", "", StringComparison.Ordinal) : expected)
            .Replace("R{", "\u001b[0;31m", StringComparison.Ordinal)
            .Replace("G{", "\u001b[0;32m", StringComparison.Ordinal)
            .Replace("C{", "\u001b[0;36m", StringComparison.Ordinal)
            .Replace("}", "\u001b[0m", StringComparison.Ordinal);
        var content = ErrorOutput.Content(new CellError("System.Exception", "the message", [line]));
        Assert.Equal(("System.Exception", "the message", expected), ((string?)content["ename"], (string?)content["evalue"], (string?)content["traceback"]![0]));
        Assert.Equal(["ename", "evalue", "traceback"], content.Select(member => member.Key));
    }

    [Fact]
    public void Values_OfCells_AreTheLastTwentyByNumberAndFromTheEnd()
    {
        var values = new CellValues();
        Assert.Contains(
            "Got Out[1]; no cell has had a value yet. The last 20 values are kept; give one a name to keep it for longer.",
            Assert.Throws<KeyNotFoundException>(() => (object)values[1]).Message,
            StringComparison.Ordinal);
        Assert.Null(values.FromEnd(0));
        for (var i = 1; i <= 20; i++)
        {
            values.Add(i, $"v{i}");
        }

        Assert.Equal((20, "v1", "v20", "v19"), (values.Count, (string)values[1], (string?)values.FromEnd(0), (string?)values.FromEnd(1)));
        Assert.Null(values.FromEnd(20));
        Assert.Equal("v1", values.FromEnd(19));
        values.Add(5, "again");
        Assert.Equal((20, "again", "again", "v6"), (values.Count, (string)values[5], (string?)values.FromEnd(0), (string)values[6]));
        values.Add(21, "v21");
        Assert.Equal(20, values.Count);
        Assert.Equal(
            "Got Out[1]; there are the values of cells 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 5, 21. "
                + "The last 20 values are kept; give one a name to keep it for longer.",
            Assert.Throws<KeyNotFoundException>(() => (object)values[1]).Message);
        Assert.Equal(values.Select(value => value.Key), ((System.Collections.IEnumerable)values).Cast<KeyValuePair<int, object>>().Select(value => value.Key));
    }

    [Theory]
    [InlineData("var a = 1;", "var a = 1;")]
    [InlineData("using System.Text;\nvar a = 1;", "using System.Text;\nvar a = 1;")]
    [InlineData("using var a = F();", "      var a = F();", "a")]
    [InlineData("await using var a = F();", "            var a = F();", "a")]
    [InlineData("using A a = F(), b = G();", "      A a = F(), b = G();", "a", "b")]
    [InlineData("using (var a = F()) { }", "using (var a = F()) { }")]
    [InlineData("{ using var a = F(); }", "{ using var a = F(); }")]
    [InlineData("using var _ = F();", "var __use00 = F();", "__use00")]
    [InlineData("using var _ = F(); using T _ = G();", "var __use00 = F(); T __use01 = G();", "__use00", "__use01")]
    [InlineData("await using  var  _ = F();", "        var __use00 = F();", "__use00")]
    [InlineData("using\nvar _ = F();", "     \nvar _ = F();", "_")]
    [InlineData("using var _ = F(), b = G();", "      var _ = F(), b = G();", "_", "b")]
    [InlineData("using  = F();", "using  = F();")]
    public void Take_UsingDeclarations_BecomeVariablesAndNothingMoves(string code, string expected, params string[] variables)
    {
        var (script, names) = UsingDeclarations.Take(code);
        Assert.Equal(expected, script);
        Assert.Equal(variables, names);
        Assert.Equal(code.Length, script.Length);
    }

    [Theory]
    [InlineData("__use00", true)]
    [InlineData("__use99", true)]
    [InlineData("__use1", false)]
    [InlineData("__use000", false)]
    [InlineData("a__use0", false)]
    public void IsHidden_Name_IsOneOfUnderscores(string name, bool expected) => Assert.Equal(expected, UsingDeclarations.IsHidden(name));

    [Fact]
    public void CleanEnvironment_OfAnInnerBuild_HasNothingOfTheOuterOne()
    {
        var start = new ProcessStartInfo("dotnet");
        (start.Environment["MSBuildSDKsPath"], start.Environment["MSBUILD_x"], start.Environment["KEPT"]) = ("a", "b", "c");
        DotnetHost.CleanEnvironment(start);
        Assert.DoesNotContain(start.Environment.Keys, name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase));
        Assert.Equal(("c", "en", "1"), (start.Environment["KEPT"], start.Environment["DOTNET_CLI_UI_LANGUAGE"], start.Environment["DOTNET_NOLOGO"]));
    }

    [Fact]
    public void Path_OfDotnet_IsTheHostThatIsKnown()
    {
        var before = Environment.GetEnvironmentVariable("DOTNET_HOST_PATH");
        try
        {
            Environment.SetEnvironmentVariable("DOTNET_HOST_PATH", typeof(CellTextTests).Assembly.Location);
            Assert.Equal(typeof(CellTextTests).Assembly.Location, DotnetHost.Path);
            Environment.SetEnvironmentVariable("DOTNET_HOST_PATH", "/no/such/file");
            Assert.Equal("dotnet", System.IO.Path.GetFileNameWithoutExtension(DotnetHost.Path));
        }
        finally
        {
            Environment.SetEnvironmentVariable("DOTNET_HOST_PATH", before);
        }
    }
}
