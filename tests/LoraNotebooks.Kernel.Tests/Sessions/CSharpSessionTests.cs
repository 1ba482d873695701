using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class CSharpSessionTests : SessionRunning
{
    [Fact]
    public async Task RunAsync_VariableOfAnEarlierCell_IsThere()
    {
        await ValueAsync("var x = 20;");
        Assert.Equal(42, await ValueAsync("x * 2 + 2"));
        Assert.Equal(20, Session.Variables["x"]);
    }

    [Fact]
    public async Task RunAsync_Redeclaration_HidesTheEarlierVariable()
    {
        await ValueAsync("var x = 1;");
        await ValueAsync("var x = \"text\";");
        Assert.Equal(4, await ValueAsync("x.Length"));
    }

    [Fact]
    public async Task RunAsync_TopLevelAwait_GivesTheAwaitedValue() =>
        Assert.Equal(7, await ValueAsync("await Task.Delay(1);\nawait Task.FromResult(7)"));

    [Fact]
    public async Task RunAsync_UsingDirective_Persists()
    {
        await ValueAsync("using System.Text;");
        Assert.Equal("ab", await ValueAsync("new StringBuilder(\"a\").Append('b').ToString()"));
    }

    [Fact]
    public async Task RunAsync_StatementAtTheEnd_HasNoValue() => Assert.Null(await ValueAsync("var x = 1;"));

    [Fact]
    public async Task RunAsync_TorchAndToolkit_AreReferencedAndTheSameTypesAsOutside()
    {
        Assert.Equal(6.0, await ValueAsync("torch.ones(2, 3).sum().ToDouble()"));
        Assert.Equal(true, await ValueAsync("Tensor t = torch.zeros(1); t.requires_grad == false"));
        Assert.Same(typeof(NotebookHost), await ValueAsync("typeof(LoraNotebooks.Interactive.NotebookHost)"));
    }

    [Fact]
    public async Task RunAsync_EveryToolkitType_CanBeNamedWithoutItsNamespace()
    {
        var names = new[] { typeof(LoraNotebooks.Tensors.NativeRuntime), typeof(NotebookHost) }
            .SelectMany(type => type.Assembly.GetExportedTypes())
            .Where(type => !type.IsNested && type.Namespace is not null)
            .Select(type => type.Name.IndexOf('`', StringComparison.Ordinal) is > 0 and var tick
                ? $"{type.Name[..tick]}<{new string(',', type.GetGenericArguments().Length - 1)}>"
                : type.Name);
        await ValueAsync(string.Join('\n', names.Select(name => $"_ = typeof({name});")));
    }

    [Fact]
    public async Task RunAsync_NullableAnnotations_AreNoErrors() => Assert.Null(await ValueAsync("string? s = null;\ns"));

    [Fact]
    public async Task RunAsync_CompileError_ShowsCellLineColumnAndSource()
    {
        var result = await RunAsync("var a = 1;\nvar b = a + nothing;");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Equal(
            [
                "cell 1, line 2, column 13: error CS0103: The name 'nothing' does not exist in the current context",
                "    2 | var b = a + nothing;",
                "      |             ^^^^^^^",
            ],
            result.Error!.Traceback);
        Assert.Equal(2, await ValueAsync("1 + 1"));
    }

    [Fact]
    public async Task RunAsync_Exception_ShowsTheLinesOfTheCellsAndNoMachinery()
    {
        await ValueAsync("int Divide(int n)\n{\n    return 1 / n;\n}");
        var result = await RunAsync("var kept = 5;\nDivide(0);");
        Assert.Equal(CellStatus.Failed, result.Status);
        Assert.Equal(
            [
                "System.DivideByZeroException: Attempted to divide by zero.",
                "   at cell 1, line 3, in Divide: return 1 / n;",
                "   at cell 2, line 2: Divide(0);",
            ],
            result.Error!.Traceback);
        Assert.Equal(5, await ValueAsync("kept"));
    }

    [Fact]
    public async Task RunAsync_ExceptionAfterAwaitWithCause_NamesBoth()
    {
        var result = await RunAsync("await Task.Yield();\nthrow new InvalidOperationException(\"outer\", new ArgumentException(\"inner\"));");
        Assert.Contains("System.InvalidOperationException: outer", result.Error!.Traceback);
        Assert.Contains("Caused by System.ArgumentException: inner", result.Error.Traceback);
        Assert.Contains("   at cell 1, line 2: throw new InvalidOperationException(\"outer\", new ArgumentException(\"inner\"));", result.Error.Traceback);
    }

    [Fact]
    public async Task RunAsync_LibtorchError_LeavesItsNativeStackOut()
    {
        var result = await RunAsync("torch.ones(2, 2).mm(torch.ones(3, 2))");
        Assert.Equal("mat1 and mat2 shapes cannot be multiplied (2x2 and 3x2)", result.Error!.Message);
    }

    [Fact]
    public async Task RunAsync_SinkThatWritesToTheConsole_DoesNotGoRoundInACircle()
    {
        var seen = 0;
        using var session = new CSharpSession(new CSharpSessionOptions
        {
            StandardOutput = text =>
            {
                seen++;
                Console.Write("");
                Console.Out.Flush();
            },
        });
        Assert.Null((await session.RunAsync("Console.Write(\"once\");", "cell 1")).Error);
        Assert.Equal(1, seen);
    }

    [Fact]
    public async Task RunAsync_Display_ReachesTheCallersHost()
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync("var handle = display(\"first\"); \"second\".Display(); handle.Update(\"third\");");
        }

        Assert.Equal(["first", "second", "third"], host.Texts);
    }

    [Fact]
    public async Task RunAsync_BlockingOnATaskOfTheCell_DoesNotDeadlock() =>
        Assert.Equal(3, await ValueAsync("async Task<int> Three() { await Task.Delay(10); return 3; }\nawait Task.Yield();\nThree().Result"));

    [Fact]
    public async Task RunAsync_Input_ComesLineByLineAndLetterByLetter()
    {
        var lines = new Queue<string>(["one", "two"]);
        using var session = new CSharpSession(new CSharpSessionOptions { ReadLine = () => lines.TryDequeue(out var line) ? line : null });
        var result = await session.RunAsync("(Console.ReadLine(), (char)Console.Read(), Console.ReadLine(), Console.ReadLine())", "cell 1");
        Assert.Equal(("one", 't', "wo", null), ((string?, char, string?, string?))result.Value!);
    }

    [Fact]
    public async Task RunAsync_Magics_AreDoneAndTakenOut()
    {
        Assert.Equal(3, await ValueAsync("#!time\n#!csharp\n1 + 2"));
        Assert.StartsWith("Wall time: ", Out.ToString(), StringComparison.Ordinal);
        Out.Clear();
        await ValueAsync("#!lsmagic");
        Assert.Contains("#!time", Out.ToString(), StringComparison.Ordinal);
        await ValueAsync("#!about");
        Assert.Contains(".NET", Out.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_MagicInAString_IsText() => Assert.Equal("\n#!time\n", await ValueAsync("@\"\n#!time\n\""));

    [Fact]
    public async Task RunAsync_UnknownMagic_IsNamedWithTheKnownOnes()
    {
        var result = await RunAsync("#!python\nprint(1)");
        Assert.Equal("UnknownMagic", result.Error!.Name);
        Assert.Contains("#!lsmagic", result.Error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("#!html\n<b>\"{ not C#", "text/html", "<b>\"{ not C#")]
    [InlineData("#!markdown\n# Title\n* a", "text/markdown", "# Title\n* a")]
    public async Task RunAsync_CellOfMarkup_IsShown(string code, string type, string expected)
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync(code);
        }

        Assert.Equal(expected, Assert.Single(host.Bundles).Text(type));
    }

    [Fact]
    public async Task RunAsync_IdiomsOfOtherCSharpNotebooks_Work()
    {
        var host = new RecordingHost();
        using (NotebookHost.Use(host))
        {
            await ValueAsync("display(HTML(\"<i>1</i>\")); 2.Display(); new[] { new { A = 1 } }.DisplayAs(\"text/plain\"); display(\"text\", \"text/plain\");");
        }

        Assert.Equal("<i>1</i>", host.Bundles[0].Text("text/html"));
        Assert.Equal("2", host.Texts[1]);
        Assert.Equal(["text/plain"], host.Bundles[2].Types);
        Assert.Equal("text", host.Texts[3]);
    }

    [Fact]
    public async Task RunAsync_CellsThatOnlyUse_LeaveNoTraceAndLaterOnesSeeTheDeclaringOnes()
    {
        await ValueAsync("var first = 1;");
        await ValueAsync("first + 1");
        await ValueAsync("using System.Text;");
        await ValueAsync("Console.Write(first);");
        await ValueAsync("int.TryParse(\"7\", out var parsed);");
        await ValueAsync("first = 5;");
        Assert.Equal("5 7", await ValueAsync("new StringBuilder().Append(first).Append(' ').Append(parsed).ToString()"));
    }

    [Fact]
    public async Task RunAsync_ThreadSettingOfOneCell_IsThereInTheNext()
    {
        var thread = await ValueAsync("Environment.CurrentManagedThreadId");
        await ValueAsync("await Task.Yield();");
        Assert.Equal(thread, await ValueAsync("Environment.CurrentManagedThreadId"));
    }

    [Fact]
    public async Task RunAsync_ManyCells_DoNotPileUpMemory()
    {
        for (var i = 0; i < 20; i++)
        {
            await ValueAsync($"{i} + 1");
        }

        var before = GC.GetTotalMemory(forceFullCollection: true);
        const int cells = 100;
        for (var i = 0; i < cells; i++)
        {
            await ValueAsync($"{i} + 2");
        }

        Assert.InRange((GC.GetTotalMemory(forceFullCollection: true) - before) / cells, long.MinValue, 100_000);
    }

    private sealed class RecordingHost : INotebookHost, IDisplayHandle
    {
        public List<MimeBundle> Bundles { get; } = [];

        public List<string> Texts => [.. Bundles.Select(bundle => bundle.Text(MimeTypes.PlainText)!)];

        public IDisplayHandle Display(MimeBundle bundle)
        {
            Update(bundle);
            return this;
        }

        public void Update(MimeBundle bundle) => Bundles.Add(bundle);
    }
}
