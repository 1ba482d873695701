using LoraNotebooks.Kernel.Html;

namespace LoraNotebooks.Kernel.Tests.Html;

public sealed class MathMlTests
{
    [Theory]
    [InlineData("W_0", "<msub><mi>W</mi><mrow><mn>0</mn></mrow></msub>")]
    [InlineData(@"\Delta W", "<mi>Δ</mi><mi>W</mi>")]
    [InlineData(@"\frac{\alpha}{r}", "<mfrac><mrow><mrow><mi>α</mi></mrow></mrow><mrow><mrow><mi>r</mi></mrow></mrow></mfrac>")]
    [InlineData(@"x_t^2", "<msubsup><mi>x</mi><mrow><mi>t</mi></mrow><mrow><mn>2</mn></mrow></msubsup>")]
    [InlineData(@"d \times k \cdot 2", "<mi>d</mi><mo>×</mo><mi>k</mi><mo>⋅</mo><mn>2</mn>")]
    [InlineData(@"\mathbb{R}", "<mi>ℝ</mi>")]
    [InlineData(@"a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>")]
    [InlineData(@"\unknown{x}", "<mtext>\\unknown</mtext><mrow><mi>x</mi></mrow>")]
    [InlineData(@"\text{if } <b>", "<mtext>if </mtext><mo>&lt;</mo><mi>b</mi><mo>&gt;</mo>")]
    public void Convert_Tex_GivesMathMl(string tex, string expected) =>
        Assert.Contains($"<mrow>{expected}</mrow><annotation", MathMl.Convert(tex, isBlock: false), StringComparison.Ordinal);

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("}")]
    [InlineData(@"\")]
    [InlineData(@"\frac{")]
    [InlineData("x^")]
    [InlineData(@"\left(")]
    [InlineData(@"\mathbf{\mathbf{")]
    public void Convert_BrokenTex_IsWellFormedXml(string tex) => System.Xml.Linq.XElement.Parse(MathMl.Convert(tex, isBlock: true));

    [Theory]
    [InlineData("{")]
    [InlineData(@"\sqrt")]
    [InlineData(@"\mathbf{\cdot")]
    [InlineData(@"\left(")]
    [InlineData("x^")]
    public void Convert_DeepNesting_DoesNotOverflow(string part) =>
        System.Xml.Linq.XElement.Parse(MathMl.Convert(string.Concat(Enumerable.Repeat(part, 20_000)), isBlock: true));
}
