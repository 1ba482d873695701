using LoraNotebooks.Comparison;

namespace LoraNotebooks.Tests.Comparison;

public class XyzValuesTests
{
    [Theory]
    [InlineData("0-1 (+0.25)", new[] { 0, 0.25, 0.5, 0.75, 1 })]
    [InlineData("0-1 (+0.1)", new[] { 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 })]
    [InlineData("0-1(+0.3)", new[] { 0, 0.3, 0.6, 0.9 })]
    [InlineData("0-1 (0.5)", new[] { 0, 0.5, 1 })]
    [InlineData("1-10 [5]", new[] { 1, 3.25, 5.5, 7.75, 10 })]
    [InlineData("0-1 [7]", new[] { 0, 1 / 6.0, 2 / 6.0, 3 / 6.0, 4 / 6.0, 5 / 6.0, 1 })]
    [InlineData("3 - 5", new double[] { 3, 4, 5 })]
    [InlineData("4-2", new double[] { 4, 3, 2 })]
    [InlineData("1-0 (-0.5)", new[] { 1, 0.5, 0 })]
    [InlineData("-1-1 (+0.5)", new[] { -1, -0.5, 0, 0.5, 1 })]
    [InlineData("-1--0.5 (+0.25)", new[] { -1, -0.75, -0.5 })]
    [InlineData("-3", new double[] { -3 })]
    [InlineData("1e-3-3e-3 (+1e-3)", new[] { 0.001, 0.002, 0.003 })]
    [InlineData(" -0.5 , 2,\"0-1 [2]\"", new[] { -0.5, 2, 0, 1 })]
    [InlineData("7-7 [1]", new double[] { 7 })]
    [InlineData("7-7", new double[] { 7 })]
    [InlineData("7-7 (+2)", new double[] { 7 })]
    [InlineData("7-7 (-2)", new double[] { 7 })]
    [InlineData("2-9 [1]", new double[] { 2 })]
    [InlineData("9-2 [2]", new double[] { 9, 2 })]
    [InlineData("5-1 (-1.5)", new[] { 5, 3.5, 2 })]
    [InlineData(".5-1.5", new[] { 0.5, 1.5 })]
    [InlineData("5.-6.", new double[] { 5, 6 })]
    [InlineData("  +1  -  2E+0  (  .5  )  ", new[] { 1, 1.5, 2 })]
    [InlineData("1-2[ 3 ]", new[] { 1, 1.5, 2 })]
    [InlineData("1E2", new double[] { 100 })]
    [InlineData("1000000000000000000", new[] { 1e18 })]
    [InlineData("-1000000000000000000", new[] { -1e18 })]
    public void ParseNumbers_Notation_IsExact(string text, double[] expected) => Assert.Equal(expected, XyzValues.ParseNumbers(text));

    [Theory]
    [InlineData("1-4", new long[] { 1, 2, 3, 4 })]
    [InlineData("1-10 [5]", new long[] { 1, 3, 6, 8, 10 })]
    [InlineData("10-50 (+10)", new long[] { 10, 20, 30, 40, 50 })]
    [InlineData("4294967296, -1", new long[] { 4294967296, -1 })]
    [InlineData("1-4 [3]", new long[] { 1, 3, 4 })]
    [InlineData("-4--1 [3]", new long[] { -4, -3, -1 })]
    [InlineData("2.0", new long[] { 2 })]
    public void ParseIntegers_Notation_GivesWholeNumbers(string text, long[] expected) => Assert.Equal(expected, XyzValues.ParseIntegers(text));

    [Theory]
    [InlineData("a, b", new[] { "a", "b" })]
    [InlineData("\"red, long hair\", blue", new[] { "red, long hair", "blue" })]
    [InlineData("\"say \"\"hi\"\"\",x", new[] { "say \"hi\"", "x" })]
    [InlineData("smiling,\"\"", new[] { "smiling", "" })]
    [InlineData("5\" tall", new[] { "5\" tall" })]
    [InlineData("  \"a, b\"  ,  c  ", new[] { "a, b", "c" })]
    [InlineData("\" a \"", new[] { " a " })]
    [InlineData("\"\"", new[] { "" })]
    [InlineData("\"\"\"\"", new[] { "\"" })]
    [InlineData("\"a\"b, c d", new[] { "ab", "c d" })]
    [InlineData("\"a\" \"b\"", new[] { "a\"b\"" })]
    [InlineData("\"a\",\"b\"", new[] { "a", "b" })]
    public void ParseTexts_Quotes_KeepCommas(string text, string[] expected) => Assert.Equal(expected, XyzValues.ParseTexts(text));

    [Theory]
    [InlineData("", "empty")]
    [InlineData("1,,2", "number 2 is empty")]
    [InlineData("1,2,", "number 3 is empty")]
    [InlineData("\"a", "not closed")]
    [InlineData("abc", "'abc'")]
    [InlineData("0-1 (+0)", "never leads")]
    [InlineData("0-1 (-0.5)", "above zero")]
    [InlineData("1-0 (+0.5)", "below zero")]
    [InlineData("1-10 [0]", "from 1 to 1000")]
    [InlineData("0-1 (+0.00001)", "at most 1000")]
    [InlineData("1-99999999999999999999 (+1)", "a number was expected")]
    [InlineData("0-1 (+0.25", "a number was expected")]
    [InlineData("0-1 +0.25)", "a number was expected")]
    [InlineData("0-1 (+0.25) [3]", "a number was expected")]
    [InlineData("0-1 (1e19)", "Got the step '1e19'")]
    [InlineData("1000000000000000001", "a number was expected")]
    [InlineData("-1000000000000000001-0", "a number was expected")]
    [InlineData("1-1001", "makes 1001 values")]
    [InlineData("1-10 [1001]", "count of 1001")]
    [InlineData("1-10 [99999999999]", "from 1 to 1000")]
    [InlineData("5-1 (+1)", "step 1 never leads from 5 to 1; give a step below zero")]
    [InlineData("5-1 (+1.50)", "step 1.5 never")]
    [InlineData(" , 1", "number 1 is empty")]
    [InlineData("1, \"a", "write \"\" for a quote")]
    public void ParseNumbers_Fault_SaysWhatWasGot(string text, string part) =>
        Assert.Contains(part, Assert.Throws<FormatException>(() => XyzValues.ParseNumbers(text)).Message);

    [Fact]
    public void ParseIntegers_Fraction_SaysWhichValue() =>
        Assert.Contains("0.5", Assert.Throws<FormatException>(() => XyzValues.ParseIntegers("0-1 (+0.5)")).Message);

    [Fact]
    public void ParseNumbers_AsManyAsAnAxisTakes_AreAllThere()
    {
        Assert.Equal(Enumerable.Range(1, 1000).Select(static i => (double)i), XyzValues.ParseNumbers("1-1000"));
        Assert.Equal(1000, XyzValues.ParseNumbers("0-1 [1000]").Count);
        Assert.Equal((0, 1), (XyzValues.ParseNumbers("0-1 [1000]")[0], XyzValues.ParseNumbers("0-1 [1000]")[^1]));
    }
}
