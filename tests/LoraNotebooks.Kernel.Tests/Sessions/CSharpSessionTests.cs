using System.Text;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

public sealed class CSharpSessionTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StringBuilder _out = new();
    private readonly StringBuilder _error = new();
    private readonly CSharpSession _session;
    private int _cells;

    public CSharpSessionTests() => _session = new CSharpSession(new CSharpSessionOptions
    {
        BaseFolder = _folder.Path,
        StandardOutput = text => _out.Append(text),
        StandardError = text => _error.Append(text),
        StopGrace = TimeSpan.FromMilliseconds(300),
    });

    public void Dispose()
    {
        _session.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task RunAsync_VariableOfAnEarlierCell_IsThere()
    {
        await ValueAsync("var x = 20;");
        Assert.Equal(42, await ValueAsync("x * 2 + 2"));
        Assert.Equal(20, _session.Variables["x"]);
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
    public async Task RunAsync_Load_BringsTheFilesDeclarations()
    {
        _folder.Write("helper.csx", "int Twice(int n) => 2 * n;");
        Assert.Equal(8, await ValueAsync("#load \"helper.csx\"\nTwice(4)"));
    }

    [Fact]
    public async Task RunAsync_PackageReference_IsRestoredCompiledAndLoaded()
    {
        Assert.Equal("Some long name", await ValueAsync("#r \"nuget: Humanizer.Core, 2.14.1\"\nusing Humanizer;\n\"SomeLongName\".Humanize()"));
        Assert.Equal("three", await ValueAsync("3.ToWords()"));
    }

    [Fact]
    public async Task RunAsync_PackageThatTheApplicationBrings_NeedsNoRestore()
    {
        Assert.Equal(2L, await ValueAsync("#r \"nuget: TorchSharp, 0.100.0\"\ntorch.ones(2).numel()"));
    }

    [Fact]
    public async Task RunAsync_UnreadablePackageReference_SaysHowToWriteIt()
    {
        var result = await RunAsync("#r \"nuget: not a name!\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("Write #r \"nuget: Name, version\"", result.Error!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_FileReference_LoadsTheAssembly()
    {
        var compilation = Microsoft.CodeAnalysis.CSharp.CSharpCompilation.Create(
            "Neighbour",
            [Microsoft.CodeAnalysis.CSharp.CSharpSyntaxTree.ParseText("namespace Neighbour; public static class House { public static int Number => 12; }")],
            [Microsoft.CodeAnalysis.MetadataReference.CreateFromFile(typeof(object).Assembly.Location)],
            new(Microsoft.CodeAnalysis.OutputKind.DynamicallyLinkedLibrary));
        using (var file = File.Create(_folder.File("Neighbour.dll")))
        {
            Assert.True(compilation.Emit(file).Success);
        }

        Assert.Equal(12, await ValueAsync("#r \"Neighbour.dll\"\nNeighbour.House.Number"));
    }

    [Fact]
    public async Task RunAsync_MissingFileReference_IsACompileErrorThatNamesIt()
    {
        var result = await RunAsync("#r \"missing.dll\"\n1");
        Assert.Equal(CellStatus.CompileError, result.Status);
        Assert.Contains("missing.dll", result.Error!.Message, StringComparison.Ordinal);
    }

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
    public async Task RunAsync_ConsoleOutput_GoesToTheSinksAndTheConsoleComesBack()
    {
        var (before, beforeError) = (Console.Out, Console.Error);
        await ValueAsync("Console.WriteLine(\"to out\"); Console.Error.Write(\"to error\"); await Task.Run(() => Console.Write(\"from a task\"));");
        Assert.Equal($"to out{Environment.NewLine}from a task", _out.ToString());
        Assert.Equal("to error", _error.ToString());
        Assert.Same(before, Console.Out);
        Assert.Same(beforeError, Console.Error);
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
    public async Task RunAsync_TimeLimit_StopsACellThatWatchesTheToken()
    {
        var result = await RunAsync("await Task.Delay(60_000, Cancellation);", TimeSpan.FromMilliseconds(200));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.False(result.StillRunning);
        Assert.Equal(3, await ValueAsync("1 + 2"));
    }

    [Fact]
    public async Task RunAsync_CellThatNeverStops_IsAbandonedAndTheSessionSaysSo()
    {
        await ValueAsync("1");
        var result = await RunAsync("var end = DateTime.UtcNow.AddSeconds(10);\nwhile (DateTime.UtcNow < end) { Thread.Sleep(5); }", TimeSpan.FromSeconds(2));
        Assert.Equal(CellStatus.TimedOut, result.Status);
        Assert.True(result.StillRunning);
        await Assert.ThrowsAsync<InvalidOperationException>(() => RunAsync("1"));
    }

    [Fact]
    public async Task RunAsync_Cancellation_EndsTheCellAsCanceled()
    {
        using var source = new CancellationTokenSource();
        var running = _session.RunAsync("await Task.Delay(60_000, Cancellation);", "cell 1", cancellation: source.Token);
        source.CancelAfter(100);
        Assert.Equal(CellStatus.Canceled, (await running).Status);
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

    private Task<CellResult> RunAsync(string code, TimeSpan? limit = null) => _session.RunAsync(code, $"cell {++_cells}", limit);

    private async Task<object?> ValueAsync(string code)
    {
        var result = await RunAsync(code);
        Assert.True(result.Error is null, string.Join('\n', result.Error?.Traceback ?? []));
        return result.Value;
    }

    private sealed class RecordingHost : INotebookHost, IDisplayHandle
    {
        public List<string> Texts { get; } = [];

        public IDisplayHandle Display(MimeBundle bundle)
        {
            Update(bundle);
            return this;
        }

        public void Update(MimeBundle bundle) => Texts.Add(bundle.Text(MimeTypes.PlainText)!);
    }
}
