using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Tests.Diffusion;

public sealed class SamplerChoiceTests
{
    [Theory]
    [InlineData("DPM++ 2M Karras", nameof(SamplerKind.DpmPlusPlus2M), SigmaSpacing.Karras)]
    [InlineData("DPM++ 2M SDE Exponential", nameof(SamplerKind.DpmPlusPlus2MSde), SigmaSpacing.Exponential)]
    [InlineData("dpmpp_3m_sde", nameof(SamplerKind.DpmPlusPlus3MSde), null)]
    [InlineData("Euler a", nameof(SamplerKind.EulerAncestral), null)]
    [InlineData("k_euler_a", nameof(SamplerKind.EulerAncestral), null)]
    [InlineData("euler_ancestral karras", nameof(SamplerKind.EulerAncestral), SigmaSpacing.Karras)]
    [InlineData("euler", nameof(SamplerKind.Euler), null)]
    [InlineData("uni_pc", nameof(SamplerKind.UniPc), null)]
    [InlineData("PLMS", nameof(SamplerKind.Pndm), null)]
    [InlineData("DpmPlusPlus2M", nameof(SamplerKind.DpmPlusPlus2M), null)]
    [InlineData("DPM++ SDE Karras", nameof(SamplerKind.DpmPlusPlusSde), SigmaSpacing.Karras)]
    [InlineData("dpm_2_ancestral", nameof(SamplerKind.Dpm2Ancestral), null)]
    [InlineData("LMS normal", nameof(SamplerKind.Lms), SigmaSpacing.Timesteps)]
    public void Parse_NamesOfOtherPrograms_AreKnown(string name, string kind, SigmaSpacing? spacing) =>
        Assert.Equal(new SamplerChoice(SamplerKind.Named(kind), spacing), SamplerChoice.Parse(name));

    [Theory]
    [InlineData("")]
    [InlineData("Karras")]
    [InlineData("DDIM Karras")]
    [InlineData("Euler b")]
    [InlineData("DPM fast")]
    public void Parse_UnknownName_ListsAll(string name)
    {
        var message = Assert.Throws<FormatException>(() => SamplerChoice.Parse(name)).Message;
        Assert.All(SamplerChoice.Names.Append($"'{name}'"), part => Assert.Contains(part, message));
    }

    [Fact]
    public void ToString_EverySamplerAndSpacing_IsReadBack()
    {
        foreach (var kind in SamplerKind.All)
        {
            Assert.Equal(new SamplerChoice(kind), SamplerChoice.Parse(new SamplerChoice(kind).ToString()));
        }

        foreach (var spacing in Enum.GetValues<SigmaSpacing>())
        {
            var choice = new SamplerChoice(SamplerKind.Heun, spacing);
            Assert.Equal(choice, SamplerChoice.Parse(choice.ToString()));
            Assert.Equal(spacing, SamplerChoice.ParseSpacing(SamplerChoice.NameOf(spacing)));
        }

        Assert.Equal(SamplerKind.All.Count, SamplerChoice.Names.Count);
    }

    [Fact]
    public void Parse_EveryNameWithEverySpacing_IsKnownAndWrittenBack()
    {
        var names = new Dictionary<SamplerKind, string[]>
        {
            [SamplerKind.DpmPlusPlus2M] = ["DPM++ 2M", "dpmsolver++", "dpmpp_2m"],
            [SamplerKind.DpmPlusPlus2MSde] = ["DPM++ 2M SDE", "dpmpp_2m_sde"],
            [SamplerKind.DpmPlusPlus3MSde] = ["DPM++ 3M SDE", "dpmpp_3m_sde"],
            [SamplerKind.DpmPlusPlusSde] = ["DPM++ SDE", "dpmpp_sde"],
            [SamplerKind.DpmPlusPlus2SAncestral] = ["DPM++ 2S a", "dpmpp_2s_ancestral"],
            [SamplerKind.Dpm2] = ["DPM2", "dpm_2", "k_dpm_2"],
            [SamplerKind.Dpm2Ancestral] = ["DPM2 a", "dpm_2_ancestral", "k_dpm_2_a"],
            [SamplerKind.EulerAncestral] = ["Euler a", "euler_a", "k_euler_a", "euler_ancestral"],
            [SamplerKind.Euler] = ["Euler", "k_euler"],
            [SamplerKind.Heun] = ["Heun", "k_heun"],
            [SamplerKind.Lms] = ["LMS", "k_lms"],
            [SamplerKind.UniPc] = ["UniPC", "uni_pc"],
            [SamplerKind.Ddim] = ["DDIM"],
            [SamplerKind.Ddpm] = ["DDPM"],
            [SamplerKind.Pndm] = ["PLMS", "PNDM"],
        };
        var spacings = new Dictionary<SigmaSpacing, string[]> { [SigmaSpacing.Timesteps] = ["Normal", "Uniform", "timesteps"], [SigmaSpacing.Karras] = ["Karras"], [SigmaSpacing.Exponential] = ["Exponential"] };
        foreach (var kind in SamplerKind.All)
        {
            var hasLevels = kind.Name is not (nameof(SamplerKind.Ddim) or nameof(SamplerKind.Ddpm) or nameof(SamplerKind.Pndm));
            Assert.Equal(hasLevels, kind.Declaration.HasLevels);
            Assert.Equal(names[kind][0], new SamplerChoice(kind).ToString());
            foreach (var name in names[kind].Append(kind.ToString()))
            {
                Assert.Equal(new SamplerChoice(kind), SamplerChoice.Parse(name));
                foreach (var (spacing, words) in spacings)
                {
                    Assert.All(words, word =>
                    {
                        if (hasLevels)
                        {
                            Assert.Equal(new SamplerChoice(kind, spacing), SamplerChoice.Parse($"{name} {word}"));
                        }
                        else
                        {
                            Assert.Throws<FormatException>(() => SamplerChoice.Parse($"{name} {word}"));
                        }
                    });
                    Assert.Equal(spacing, SamplerChoice.ParseSpacing(words[^1]));
                    Assert.Equal(words[0], SamplerChoice.NameOf(spacing));
                    Assert.Equal($"{names[kind][0]} {words[0]}", new SamplerChoice(kind, spacing).ToString());
                }
            }
        }

        Assert.Equal(names.Values.Select(static all => all[0]), SamplerChoice.Names);
        Assert.Equal(["Normal", "Karras", "Exponential"], SamplerChoice.SpacingNames);
        Assert.Contains("'Align'; there are Normal, Karras, Exponential.", Assert.Throws<FormatException>(() => SamplerChoice.ParseSpacing("Align")).Message);
    }
}
