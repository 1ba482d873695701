using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Tests.Sessions;

/// <summary>What is said of errors: which lines, which places, how much.</summary>
public sealed class CellErrorTests : SessionRunning
{
    [Fact]
    public async Task RunAsync_ManyCompileErrors_ShowsTwentyInTheOrderOfTheirPlaces()
    {
        var error = (await RunAsync(string.Join('\n', Enumerable.Range(1, 25).Select(i => $"var v{i} = unknown{i};")))).Error!;
        Assert.Equal("cell 1, line 1, column 10: error CS0103: The name 'unknown1' does not exist in the current context", error.Message);
        Assert.Equal(Enumerable.Range(1, 20).Select(i => $"{i,5} | var v{i} = unknown{i};"), error.Traceback.Where((_, i) => i % 3 == 1));
        Assert.Equal(61, error.Traceback.Count);
        Assert.Equal("… and 5 more errors", error.Traceback[^1]);
        Assert.Equal(60, (await RunAsync(string.Join('\n', Enumerable.Range(1, 20).Select(i => $"var v{i} = unknown{i};")))).Error!.Traceback.Count);
    }

    [Fact]
    public async Task RunAsync_CompileErrorOverSeveralLines_IsMarkedToTheEndOfItsFirst()
    {
        var error = (await RunAsync("string s =\n\t(1 +\n2);  ")).Error!;
        Assert.Equal(
            [
                "cell 1, line 2, column 3: error CS0029: Cannot implicitly convert type 'int' to 'string'",
                "    2 |  (1 +",
                "      |   ^^^",
            ],
            error.Traceback);
    }

    [Fact]
    public async Task RunAsync_CompileErrorInALoadedFile_ShowsTheFilesLine()
    {
        Folder.Write("helper.csx", "// fine\nint Bad() => nothing;");
        var error = (await RunAsync("#load \"helper.csx\"\nvar b = 2;")).Error!;
        Assert.Contains("helper.csx, line 2, column 14: error CS0103: The name 'nothing' does not exist in the current context", error.Traceback);
        Assert.Contains("    2 | int Bad() => nothing;", error.Traceback);
    }

    [Fact]
    public async Task RunAsync_ExceptionWithManyCauses_NamesFive()
    {
        var error = (await RunAsync(
            "throw new Exception(\"1\", new Exception(\"2\", new Exception(\"3\", "
                + "new Exception(\"4\", new Exception(\"5\", new Exception(\"6\"))))));")).Error!;
        Assert.Equal(
            [
                "System.Exception: 1",
                "Caused by System.Exception: 2",
                "Caused by System.Exception: 3",
                "Caused by System.Exception: 4",
                "Caused by System.Exception: 5",
            ],
            error.Traceback.Where(line => !line.StartsWith("   at", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task RunAsync_DeepStack_ShowsItsEnds()
    {
        var error = (await RunAsync("int Down(int n) => n == 0 ? throw new Exception(\"deep\\nand wide\") : Down(n - 1) + 1;\nDown(40);")).Error!;
        Assert.Equal(["System.Exception: deep", "and wide"], error.Traceback.Take(2));
        Assert.Equal("   … 12 more …", error.Traceback[2 + 15]); // 41 calls and the top level, of which 30 are shown
        Assert.Equal(2 + 31, error.Traceback.Count);
        Assert.Equal("   at cell 1, line 2: Down(40);", error.Traceback[^1]);
        var shorter = (await RunAsync("Down(28);")).Error!;
        Assert.Equal(2 + 30, shorter.Traceback.Count);
    }

    [Theory]
    [InlineData("class Own<T> : Exception { } throw new Own<int>();", "Own")]
    [InlineData("class Outer { public class Inner : Exception { } } throw new Outer.Inner();", "Outer.Inner")]
    [InlineData("class Holder<T> { public class Inner<S> : Exception { } } throw new Holder<int>.Inner<int>();", "Holder.Inner")]
    [InlineData("throw new AggregateException(new ArgumentException(\"one\"), new ArgumentException(\"two\"));", "System.AggregateException")]
    public async Task RunAsync_Exception_IsNamedAsInCode(string code, string expected)
    {
        var error = (await RunAsync(code)).Error!;
        Assert.EndsWith(expected, error.Name, StringComparison.Ordinal);
        Assert.DoesNotContain('`', error.Name);
        Assert.DoesNotContain('+', error.Name);
        Assert.StartsWith(error.Name + ": ", error.Traceback[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task RunAsync_ExceptionFromTheLibrary_ShowsMethodsAsTheyWereWritten()
    {
        var error = (await RunAsync(
            "var list = new List<int> { 1 };\nIEnumerable<int> Lazy() { yield return int.Parse(\"x\"); }\n"
                + "async Task<int> Later() { await Task.Yield(); return Lazy().Select(i => i).First(); }\nawait Later()")).Error!;
        Assert.Contains("   at System.Number.ThrowFormatException", error.Traceback);
        Assert.Contains("   at cell 1, line 2, in Lazy: IEnumerable<int> Lazy() { yield return int.Parse(\"x\"); }", error.Traceback);
        Assert.Contains(
            "   at cell 1, line 3, in Later: async Task<int> Later() { await Task.Yield(); return Lazy().Select(i => i).First(); }",
            error.Traceback);
        Assert.Equal("   at cell 1, line 4: await Later()", error.Traceback[^1]);
        Assert.DoesNotContain(error.Traceback, line => line.Contains('<', StringComparison.Ordinal) && !line.Contains("cell 1", StringComparison.Ordinal));
        Assert.DoesNotContain(error.Traceback, line => line.Contains("CompilerServices", StringComparison.Ordinal));
    }

    [Fact]
    public void OfPreparation_Faults_AreThoseOfPackagesAndMagics()
    {
        var package = CellErrors.OfPreparation(new PackageRestoreException("one\ntwo"))!;
        Assert.Equal(("PackageNotRestored", "one\ntwo", "one|two"), (package.Name, package.Message, string.Join('|', package.Traceback)));
        var magic = CellErrors.OfPreparation(new CellMagicException("one\ntwo"))!;
        Assert.Equal(("UnknownMagic", "one\ntwo", "one|two"), (magic.Name, magic.Message, string.Join('|', magic.Traceback)));
        Assert.Null(CellErrors.OfPreparation(new InvalidOperationException()));
    }

    [Fact]
    public void OfException_NativeMessage_IsItsFirstPart()
    {
        var error = CellErrors.OfException(new InvalidOperationException(" what was wrong\r\nmore\nException raised from here\nstack"), new CellSources());
        Assert.Equal("what was wrong\nmore", error.Message);
        Assert.Equal(["System.InvalidOperationException: what was wrong", "more"], error.Traceback);
        Assert.Equal("System.ArgumentException", CellErrors.OfException(new AggregateException(new ArgumentException("only")), new CellSources()).Name);
        Assert.Equal(
            "System.AggregateException",
            CellErrors.OfException(new AggregateException(new ArgumentException("one"), new ArgumentException("two")), new CellSources()).Name);
    }

    [Fact]
    public void IsStop_Exceptions_AreThoseThatAStopMakes()
    {
        Assert.True(CellErrors.IsStop(new OperationCanceledException()));
        Assert.True(CellErrors.IsStop(new TaskCanceledException()));
        Assert.True(CellErrors.IsStop(new ThreadInterruptedException()));
        Assert.True(CellErrors.IsStop(new AggregateException(new OperationCanceledException(), new AggregateException(new ThreadInterruptedException()))));
        Assert.False(CellErrors.IsStop(new AggregateException(new OperationCanceledException(), new IOException())));
        Assert.False(CellErrors.IsStop(new IOException()));
    }

    [Fact]
    public void OfKernel_Fault_SaysWhoseItIs()
    {
        var error = CellErrors.OfKernel(new InvalidOperationException("why"));
        Assert.Equal(("System.InvalidOperationException", "The kernel itself failed, not the cell: why"), (error.Name, error.Message));
        Assert.Equal([error.Message, "System.InvalidOperationException: why"], error.Traceback);
    }

    [Theory]
    [InlineData("new List<int>().NoSuchMethod()", "")]
    [InlineData("NoSuchTypeAnywhere x = null;", "")]
    [InlineData("int x = \"\";", "")]
    [InlineData("FrozenDictionary<int, int> x = null;", "      = add `using System.Collections.Frozen;` at the top of the cell")]
    [InlineData("Timers.Timer x;", "")]
    [InlineData("XmlSerializer x;", "      = add `using System.Xml.Serialization;` at the top of the cell")]
    public async Task RunAsync_NameThatIsNotOpen_IsLookedForWhereItCouldBe(string code, string hint)
    {
        var added = (await RunAsync(code)).Error!.Traceback.Where(line => line.StartsWith("      = add", StringComparison.Ordinal));
        Assert.Equal(hint.Length == 0 ? [] : [hint], added);
    }
}
