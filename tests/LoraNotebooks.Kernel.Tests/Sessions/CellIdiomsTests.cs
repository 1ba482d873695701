using System.Text;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What people who know C# from files, and notebooks from other hosts, write in cells.</summary>
public sealed class CellIdiomsTests : IDisposable, INotebookHost, IDisplayHandle
{
    private readonly StringBuilder _events = new();
    private readonly CSharpSession _session;
    private readonly IDisposable _host;
    private int _cells;

    public CellIdiomsTests()
    {
        _session = new CSharpSession(new CSharpSessionOptions { StandardOutput = text => _events.Append(text), StandardError = text => _events.Append(text) });
        _host = NotebookHost.Use(this);
    }

    public void Dispose()
    {
        _host.Dispose();
        _session.Dispose();
    }

    public IDisplayHandle Display(MimeBundle bundle)
    {
        _events.Append($"<{bundle.Text(MimeTypes.Html) ?? bundle.Text(MimeTypes.Markdown) ?? bundle.Text(MimeTypes.PlainText)}>");
        return this;
    }

    void IDisplayHandle.Update(MimeBundle bundle) => Display(bundle);

    [Fact]
    public async Task RunAsync_UsingDeclaration_IsAVariableUntilItsNameIsDeclaredAnew()
    {
        await DeclareOwnersAsync();
        Assert.Equal("one", await ValueAsync("using var a = new Owner(\"one\"); using Owner b = new(\"other\");\na.ToString()"));
        Assert.Equal("one other", await ValueAsync("$\"{a} {b}\""));
        Assert.Equal("", Events());
        await ValueAsync("Console.Write(\"new \"); var a = 3;");
        Assert.Equal("-onenew ", Events());
    }

    [Fact]
    public async Task RunAsync_CellOfAUsingDeclarationRunAgain_ClosesTheFirstBeforeTheSecondOpens()
    {
        using var folder = new TemporaryFolder();
        var path = folder.File("log.txt").Replace("\\", "/", StringComparison.Ordinal);
        for (var i = 0; i < 3; i++)
        {
            await ValueAsync($"using var log = new FileStream(\"{path}\", FileMode.Append, FileAccess.Write, FileShare.None);\nlog.WriteByte(65);");
        }

        _session.Dispose();
        Assert.Equal("AAA", await File.ReadAllTextAsync(path));
    }

    [Fact]
    public async Task Dispose_OwnedVariables_AreDisposedLastFirstAlsoOfFailedCells()
    {
        await DeclareOwnersAsync();
        await ValueAsync("using var a = new Owner(\"a\");\nawait using var b = new AsyncOwner(\"b\");");
        Assert.Equal(CellStatus.Failed, (await RunAsync("using var c = new Owner(\"c\"); throw new InvalidOperationException();")).Status);
        await ValueAsync("using var bad = new BadOwner();");
        _session.Dispose();
        Assert.Equal("bad could not be disposed of: no\n-c~b-a", Events());
    }

    [Fact]
    public async Task RunAsync_UsingDeclarationOfUnderscore_LivesAsLongAsItsCell()
    {
        await DeclareOwnersAsync();
        Assert.Equal(
            false,
            await ValueAsync("using var _ = torch.no_grad();\nusing Owner _ = new Owner(\"x\"); Console.Write(\"in\");\ntorch.is_grad_enabled()"));
        Assert.Equal("in-x", Events());
        Assert.Equal(true, await ValueAsync("_ = int.TryParse(\"1\", out _); torch.is_grad_enabled()"));
        Assert.Empty(_session.Variables);
    }

    [Theory]
    [InlineData("using System.Text;\nusing var r = new StringReader(\"x\");\nusing (var inner = new StringReader(\"y\")) { }\nr.ReadLine()", "x")]
    [InlineData(
        "await using (var m = new MemoryStream()) { }\nvoid F() { using var inner = new MemoryStream(); }\nF();\n"
            + "public string Name { get; } = \"n\";\nName",
        "n")]
    [InlineData("#!time\n// using var x\nusing /* a */ var r = new StringReader(\"using var q = 1;\");\nr.ReadToEnd()", "using var q = 1;")]
    [InlineData("using StringReader a = new(\"1\"), b = new(\"2\");\nb.ReadLine() + a.ReadLine()", "21")]
    public async Task RunAsync_UsingsOfAllKinds_KeepTheirMeaning(string code, string expected) => Assert.Equal(expected, await ValueAsync(code));

    [Fact]
    public async Task RunAsync_ErrorBesideAUsingDeclaration_ShowsTheLineAsItWasWritten()
    {
        var error = (await RunAsync("\nusing var r = new StringReader(nothing);")).Error!;
        Assert.Equal("cell 1, line 2, column 32: error CS0103: The name 'nothing' does not exist in the current context", error.Message);
        Assert.Equal("    2 | using var r = new StringReader(nothing);", error.Traceback[1]);
    }

    [Fact]
    public async Task RunAsync_LastValues_AreNamedByUnderscoresAndNumbers()
    {
        Assert.Null(await ValueAsync("_"));
        await ValueAsync("40");
        await ValueAsync("var unrelated = 1;");
        Assert.Equal(42, await ValueAsync("_ + 2"));
        Assert.Equal(82, await ValueAsync("_ + __"));
        Assert.Equal(40, await ValueAsync("Out[2]"));
        Assert.Equal(true, await ValueAsync("int.TryParse(\"7\", out _)"));
        await ValueAsync("_ = 5; (_, var second) = (1, 2);");
        Assert.Equal(true, await ValueAsync("_"));
        Assert.Contains("Got Out[99]; there are the values of cells 2, 4", (await RunAsync("Out[99]")).Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_ManyValues_OnlyTheLastAreKept()
    {
        for (var i = 1; i <= CellValues.MostKept + 5; i++)
        {
            await ValueAsync($"{i}");
        }

        Assert.Equal(CellValues.MostKept, await ValueAsync("Out.Count"));
        Assert.Equal("KeyNotFoundException", (await RunAsync("Out[3]")).Error!.Name.Split('.')[^1]);
    }

    [Fact]
    public async Task RunAsync_PartsOfACell_ShowInTheirOrder()
    {
        Assert.Equal("end", await ValueAsync(
            "Console.Write(1);\n\"value\"\n#!html\n<b>two</b>\n#!csharp\nvar inside = 3;\n#!who\n#!markdown\n# M\n"
                + "#!csharp\nConsole.Write(inside);\n\"end\""));
        Assert.Equal("1<value><<b>two</b>>inside\n<# M>3", Events());
        await ValueAsync("\"last\"\n#!mermaid\ngraph TD");
        Assert.Equal("<last><```mermaid\ngraph TD\n```>", Events());
    }

    [Fact]
    public async Task RunAsync_FaultInALaterPart_RunsNothing()
    {
        Assert.Contains(
            "cell 1, line 5, column 9",
            (await RunAsync("Console.Write(1);\n#!html\n<b>\n#!csharp\nint x = \"\";")).Error!.Message,
            StringComparison.Ordinal);
        Assert.Contains("F#", (await RunAsync("Console.Write(1);\n#!f#\nlet x = 1")).Error!.Message, StringComparison.Ordinal);
        Assert.Equal("", Events());
        Assert.Equal(
            CellStatus.Failed,
            (await RunAsync("var kept = 1;\n#!html\n<i>\n#!csharp\nthrow new InvalidOperationException();\n#!html\n<never>")).Status);
        Assert.Equal("<<i>>", Events());
        Assert.Equal(1, await ValueAsync("kept"));
    }

    [Fact]
    public async Task RunAsync_MagicWithinABlock_LeavesTheBlockWhole() => Assert.Equal(3, await ValueAsync("int F()\n{\n#!who\n    return 3;\n}\nF()"));

    [Fact]
    public async Task RunAsync_Whos_ListsTypesValuesAndShapes()
    {
        await ValueAsync("#!whos");
        Assert.Equal("<There are no variables yet.>", Events());
        await ValueAsync("var weights = torch.zeros(2, 3); var names = new List<string> { \"a\" }; string? none = null;");
        await ValueAsync("#!who\n#!whos");
        var shown = Events();
        Assert.StartsWith("names, none, weights\n<", shown, StringComparison.Ordinal);
        Assert.Contains(">List&lt;string&gt;</td>", shown, StringComparison.Ordinal);
        Assert.Contains("[2x3], type = Float32", shown, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("%time 1 + 1", "#!time")]
    [InlineData("var x = 1;\n%timeit x", "#!time")]
    [InlineData("%whos", "#!whos")]
    [InlineData("%%html\n<b>", "#!html")]
    [InlineData("%%bash\nls", "Process.Start")]
    [InlineData("%nothing", "#!lsmagic")]
    [InlineData("!pip install -q Humanizer", "#r \"nuget: Humanizer\"")]
    [InlineData("!dotnet add package Humanizer", "#r \"nuget: Humanizer\"")]
    [InlineData("!ls -la", "Directory.GetFileSystemEntries")]
    [InlineData("!nvidia-smi", "Process.Start(\"nvidia-smi\")")]
    [InlineData("!git log -1", "Process.Start(\"git\", \"log -1\")")]
    public async Task RunAsync_CommandsOfOtherNotebooks_AreAnsweredWithWhatToWrite(string code, string expected)
    {
        var error = (await RunAsync(code)).Error!;
        Assert.Equal("UnknownMagic", error.Name);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("var no = false;\n!no", true)]
    [InlineData("var seven = 7;\nseven\n%4 == 3", true)]
    public async Task RunAsync_OperatorsAtTheBeginOfALine_AreOperators(string code, object expected) => Assert.Equal(expected, await ValueAsync(code));

    [Theory]
    [InlineData("!misspelt")]
    [InlineData("!misspelt && true")]
    public async Task RunAsync_NegatedNameThatDoesNotExist_IsACompileError(string code) => Assert.Equal("CompileError", (await RunAsync(code)).Error!.Name);

    [Theory]
    [InlineData("new StringBuilder(\"a\").ToString() + Regex.Replace(\"b\", \"b\", \"c\")")]
    [InlineData("JsonSerializer.Serialize(\"ac\").Trim('\"')")]
    [InlineData("new JsonObject { [\"k\"] = \"ac\" }[\"k\"]!.ToString()")]
    [InlineData("\"ac\".ToUpper(CultureInfo.InvariantCulture).ToLower(CultureInfo.InvariantCulture)")]
    [InlineData("(Stopwatch.StartNew().IsRunning && BigInteger.One.IsOne && new HttpClient() is IDisposable "
        + "&& new ConcurrentBag<int>().IsEmpty && new ArrayList().Count == 0) ? \"ac\" : \"\"")]
    public async Task RunAsync_NamespacesOfOrdinaryProjects_AreOpen(string code) => Assert.Equal("ac", await ValueAsync(code));

    [Theory]
    [InlineData("class Vector { public int A => 3; }\nnew Vector().A")]
    [InlineData("record Complex(int A);\nnew Complex(3).A")]
    [InlineData("using Vector = System.Collections.Generic.List<int>;\nnew Vector { 3 }[0]")]
    public async Task RunAsync_NamesOfTheUser_ComeBeforeThoseOfOpenNamespaces(string code) => Assert.Equal(3, await ValueAsync(code));

    [Theory]
    [InlineData("XDocument.Parse(\"<a/>\")", "      = add `using System.Xml.Linq;` at the top of the cell")]
    [InlineData("FrozenSet<int> x = null;", "      = add `using System.Collections.Frozen;` at the top of the cell")]
    [InlineData("new List<int>().ToFrozenSet()", "      = add `using System.Collections.Frozen;` at the top of the cell")]
    public async Task RunAsync_NameOfANamespaceThatIsNotOpen_SaysWhichToAdd(string code, string expected) =>
        Assert.Contains(expected, (await RunAsync(code)).Error!.Traceback);

    [Fact]
    public async Task RunAsync_HandleAsTheLastExpression_IsNoValueToShow()
    {
        Assert.Null((await RunAsync("display(\"once\")")).Shown("cell 1").Shown);
        Assert.Null((await RunAsync("var d = \"twice\".Display(); d")).Shown("cell 2").Shown);
        Assert.Equal("<once><twice>", Events());
    }

    private Task DeclareOwnersAsync() => ValueAsync("""
        class Owner(string name) : IDisposable { public void Dispose() => Console.Write("-" + name); public override string ToString() => name; }
        class AsyncOwner(string name) : IAsyncDisposable { public async ValueTask DisposeAsync() { await Task.Yield(); Console.Write("~" + name); } }
        class BadOwner : IDisposable { public void Dispose() => throw new InvalidOperationException("no"); }
        """);

    private string Events()
    {
        var text = _events.ToString();
        _events.Clear();
        return text;
    }

    private Task<CellResult> RunAsync(string code) => _session.RunAsync(code, $"cell {++_cells}");

    private async Task<object?> ValueAsync(string code)
    {
        var result = await RunAsync(code);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }
}
