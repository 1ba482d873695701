namespace LoraNotebooks.Kernel.Html;

/// <summary>TeX's names for signs, and the Unicode characters that they stand for.</summary>
internal static class TexSymbols
{
    /// <summary>Letters, set as variables.</summary>
    public static readonly IReadOnlyDictionary<string, string> Letters = new Dictionary<string, string>
    {
        ["alpha"] = "α",
        ["beta"] = "β",
        ["gamma"] = "γ",
        ["delta"] = "δ",
        ["epsilon"] = "ϵ",
        ["varepsilon"] = "ε",
        ["zeta"] = "ζ",
        ["eta"] = "η",
        ["theta"] = "θ",
        ["vartheta"] = "ϑ",
        ["iota"] = "ι",
        ["kappa"] = "κ",
        ["lambda"] = "λ",
        ["mu"] = "μ",
        ["nu"] = "ν",
        ["xi"] = "ξ",
        ["pi"] = "π",
        ["rho"] = "ρ",
        ["sigma"] = "σ",
        ["tau"] = "τ",
        ["upsilon"] = "υ",
        ["phi"] = "ϕ",
        ["varphi"] = "φ",
        ["chi"] = "χ",
        ["psi"] = "ψ",
        ["omega"] = "ω",
        ["Gamma"] = "Γ",
        ["Delta"] = "Δ",
        ["Theta"] = "Θ",
        ["Lambda"] = "Λ",
        ["Xi"] = "Ξ",
        ["Pi"] = "Π",
        ["Sigma"] = "Σ",
        ["Phi"] = "Φ",
        ["Psi"] = "Ψ",
        ["Omega"] = "Ω",
        ["ell"] = "ℓ",
        ["infty"] = "∞",
        ["partial"] = "∂",
        ["nabla"] = "∇",
        ["emptyset"] = "∅",
        ["top"] = "⊤",
        ["bot"] = "⊥",
        ["dagger"] = "†",
        ["hbar"] = "ℏ",
        ["Re"] = "ℜ",
        ["Im"] = "ℑ",
        ["ldots"] = "…",
        ["dots"] = "…",
        ["cdots"] = "⋯",
        ["vdots"] = "⋮",
        ["ddots"] = "⋱",
        ["#"] = "#",
        ["%"] = "%",
        ["&"] = "&",
        ["_"] = "_",
        ["$"] = "$",
    };

    /// <summary>Operators, relations, arrows and brackets.</summary>
    public static readonly IReadOnlyDictionary<string, string> Operators = new Dictionary<string, string>
    {
        ["cdot"] = "⋅",
        ["times"] = "×",
        ["div"] = "÷",
        ["pm"] = "±",
        ["mp"] = "∓",
        ["ast"] = "∗",
        ["star"] = "⋆",
        ["circ"] = "∘",
        ["odot"] = "⊙",
        ["otimes"] = "⊗",
        ["oplus"] = "⊕",
        ["le"] = "≤",
        ["leq"] = "≤",
        ["ge"] = "≥",
        ["geq"] = "≥",
        ["ne"] = "≠",
        ["neq"] = "≠",
        ["approx"] = "≈",
        ["sim"] = "∼",
        ["simeq"] = "≃",
        ["equiv"] = "≡",
        ["propto"] = "∝",
        ["ll"] = "≪",
        ["gg"] = "≫",
        ["in"] = "∈",
        ["notin"] = "∉",
        ["subset"] = "⊂",
        ["subseteq"] = "⊆",
        ["cup"] = "∪",
        ["cap"] = "∩",
        ["setminus"] = "∖",
        ["forall"] = "∀",
        ["exists"] = "∃",
        ["neg"] = "¬",
        ["land"] = "∧",
        ["lor"] = "∨",
        ["to"] = "→",
        ["rightarrow"] = "→",
        ["leftarrow"] = "←",
        ["gets"] = "←",
        ["leftrightarrow"] = "↔",
        ["Rightarrow"] = "⇒",
        ["Leftarrow"] = "⇐",
        ["iff"] = "⇔",
        ["mapsto"] = "↦",
        ["mid"] = "∣",
        ["parallel"] = "∥",
        ["perp"] = "⟂",
        ["coloneqq"] = "≔",
        ["colon"] = ":",
        ["{"] = "{",
        ["}"] = "}",
        ["lbrace"] = "{",
        ["rbrace"] = "}",
        ["langle"] = "⟨",
        ["rangle"] = "⟩",
        ["lfloor"] = "⌊",
        ["rfloor"] = "⌋",
        ["lceil"] = "⌈",
        ["rceil"] = "⌉",
        ["|"] = "‖",
        ["Vert"] = "‖",
        ["lVert"] = "‖",
        ["rVert"] = "‖",
        ["vert"] = "|",
        ["lvert"] = "|",
        ["rvert"] = "|",
    };

    /// <summary>Operators whose scripts stand below and above.</summary>
    public static readonly IReadOnlyDictionary<string, string> Big = new Dictionary<string, string>
    {
        ["sum"] = "∑",
        ["prod"] = "∏",
        ["int"] = "∫",
        ["bigcup"] = "⋃",
        ["bigcap"] = "⋂",
        ["bigoplus"] = "⨁",
    };

    /// <summary>Functions that are written upright by their name.</summary>
    public static readonly IReadOnlySet<string> Functions = new HashSet<string>
    {
        "log", "ln", "exp", "sin", "cos", "tan", "tanh", "min", "max", "arg", "argmin", "argmax", "lim", "det", "dim", "rank", "ker", "Pr", "softmax", "tr",
    };

    /// <summary>A letter or digit in bold, as for vectors and matrices.</summary>
    public static string Bold(char letter) => letter switch
    {
        >= 'A' and <= 'Z' => char.ConvertFromUtf32(0x1D400 + (letter - 'A')),
        >= 'a' and <= 'z' => char.ConvertFromUtf32(0x1D41A + (letter - 'a')),
        >= '0' and <= '9' => char.ConvertFromUtf32(0x1D7CE + (letter - '0')),
        _ => letter.ToString(),
    };

    /// <summary>A capital as in the set of real numbers.</summary>
    public static string DoubleStruck(char letter) => letter switch
    {
        'C' => "ℂ",
        'H' => "ℍ",
        'N' => "ℕ",
        'P' => "ℙ",
        'Q' => "ℚ",
        'R' => "ℝ",
        'Z' => "ℤ",
        >= 'A' and <= 'Z' => char.ConvertFromUtf32(0x1D538 + (letter - 'A')),
        _ => letter.ToString(),
    };

    /// <summary>A capital as in the loss or the normal distribution.</summary>
    public static string Script(char letter) => letter switch
    {
        'B' => "ℬ",
        'E' => "ℰ",
        'F' => "ℱ",
        'H' => "ℋ",
        'I' => "ℐ",
        'L' => "ℒ",
        'M' => "ℳ",
        'R' => "ℛ",
        >= 'A' and <= 'Z' => char.ConvertFromUtf32(0x1D49C + (letter - 'A')),
        _ => letter.ToString(),
    };
}
